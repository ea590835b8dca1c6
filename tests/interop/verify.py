"""Reads one webhook request as a stranger would: with the reference library of Standard Webhooks and the SDK of CloudEvents.

usage: verify.py REQUEST SECRET

REQUEST is a JSON file {"headers": {name: value}, "body": text}. Prints {"id", "type", "subject", "time"} of each event, one per line, and
fails when the signature, the timestamp or an event is not what the libraries accept, or when they would accept a body that was changed.
"""

import json
import sys

from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from standardwebhooks import Webhook, WebhookVerificationError


def main(path: str, secret: str) -> None:
    with open(path, encoding="utf-8") as file:
        request = json.load(file)
    headers, body = request["headers"], request["body"]

    webhook = Webhook(secret)
    batch = webhook.verify(body, headers)
    try:
        webhook.verify(body.replace("insert", "delete", 1), headers)
        sys.exit("a changed body was accepted")
    except WebhookVerificationError:
        pass

    if headers["content-type"] != "application/cloudevents-batch+json":
        sys.exit(f"unexpected content type {headers['content-type']}")
    for item in batch:
        event = JSONFormat().read(CloudEvent, json.dumps(item))
        time = event.get_time()
        print(
            json.dumps(
                {
                    "id": event.get_id(),
                    "type": event.get_type(),
                    "subject": event.get_subject(),
                    "time": time and time.isoformat(),
                }
            )
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
