//! Reads that are tried again: a disk error often passes, and what is decided for want of an answer often is for good.

use std::io;

/// What cannot be read so often is unreadable.
const READS_MAX: usize = 5;

/// The result of `read`, tried again after an error; that nothing is there is no error to try again after.
pub(crate) async fn read_again<T, F: Future<Output = io::Result<T>>>(
    mut read: impl FnMut() -> F,
) -> io::Result<T> {
    let mut result = read().await;
    for _ in 1..READS_MAX {
        match &result {
            Err(error) if error.kind() != io::ErrorKind::NotFound => result = read().await,
            _ => break,
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn reads(succeeds_at: usize, kind: io::ErrorKind) -> (bool, usize) {
        let count = Cell::new(0);
        let read = || async {
            count.set(count.get() + 1);
            match count.get() >= succeeds_at {
                true => Ok(()),
                false => Err(io::Error::from(kind)),
            }
        };
        let result = futures_lite::future::block_on(read_again(read));
        (result.is_ok(), count.get())
    }

    #[test]
    fn an_error_is_tried_again_some_times_and_absence_never() {
        let other = io::ErrorKind::Other;
        assert_eq!(reads(1, other), (true, 1));
        assert_eq!(reads(READS_MAX, other), (true, READS_MAX));
        assert_eq!(reads(READS_MAX + 1, other), (false, READS_MAX));
        assert_eq!(reads(2, io::ErrorKind::NotFound), (false, 1));
    }
}
