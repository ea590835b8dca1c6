//! The harness can fail: with each protection switched off, the scenario that needs it does.
