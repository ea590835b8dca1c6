//! `inet`, kept as the text that `inet_out` prints.

use std::cmp::Ordering;

/// skeleton
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    a.cmp(b)
}
