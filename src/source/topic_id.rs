//! The topic's id (KIP-516), which the Kafka crate does not give: one question through librdkafka's C interface.
//!
//! The only unsafe code of the engine. Every object made here is destroyed here, on every path, and results are copied before the event
//! that owns them is destroyed.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::ptr;

use rdkafka::bindings as rd;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::source::Error;
use crate::source::topic::TIMEOUT;

/// Asks the broker; 22 characters of base64, as Kafka's tools print it.
pub fn topic_id(client: &BaseConsumer, topic: &str) -> Result<String, Error> {
    let name = CString::new(topic).map_err(|_| Error::NoTopic(topic.to_owned()))?;
    let timeout_ms = i32::try_from(TIMEOUT.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: `client` outlives the call; the pointers are used as the C interface asks, and each is destroyed once.
    unsafe {
        let handle = client.client().native_ptr();
        let mut names = [name.as_ptr()];
        let topics = rd::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1);
        let queue = rd::rd_kafka_queue_new(handle);
        let options = rd::rd_kafka_AdminOptions_new(handle, rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        let mut complaint = [0; 128];
        rd::rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, complaint.as_mut_ptr(), complaint.len());
        rd::rd_kafka_DescribeTopics(handle, topics, options, queue);
        let event = rd::rd_kafka_queue_poll(queue, timeout_ms);
        let id = if event.is_null() { Err(timed_out()) } else { read(event, topic) };
        if !event.is_null() {
            rd::rd_kafka_event_destroy(event);
        }
        rd::rd_kafka_AdminOptions_destroy(options);
        rd::rd_kafka_queue_destroy(queue);
        rd::rd_kafka_TopicCollection_destroy(topics);
        id
    }
}

fn timed_out() -> Error {
    Error::Kafka(KafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut))
}

/// SAFETY: `event` is the answer to `DescribeTopics` of one topic, not yet destroyed.
unsafe fn read(event: *mut rd::rd_kafka_event_t, topic: &str) -> Result<String, Error> {
    unsafe {
        let error = rd::rd_kafka_event_error(event);
        if error != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(Error::Kafka(KafkaError::AdminOp(error.into())));
        }
        let result = rd::rd_kafka_event_DescribeTopics_result(event);
        let mut count = 0;
        let found = if result.is_null() { ptr::null_mut() } else { rd::rd_kafka_DescribeTopics_result_topics(result, &raw mut count) };
        if found.is_null() || count != 1 {
            return Err(timed_out());
        }
        let description = *found;
        let error = rd::rd_kafka_error_code(rd::rd_kafka_TopicDescription_error(description));
        match error {
            rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART => return Err(Error::NoTopic(topic.to_owned())),
            other => return Err(Error::Kafka(KafkaError::AdminOp(other.into()))),
        }
        let text = rd::rd_kafka_Uuid_base64str(rd::rd_kafka_TopicDescription_topic_id(description));
        if text.is_null() { Err(timed_out()) } else { Ok(CStr::from_ptr(text).to_string_lossy().into_owned()) }
    }
}
