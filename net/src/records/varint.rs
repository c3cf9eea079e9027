//! The zigzag varints of records: little-endian groups of 7 bits, at most 5 bytes for 32 bits and 10 for 64.

/// Why no number could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VarintError {
    /// The bytes end inside the number.
    Short,
    /// The number has more bytes than its type allows.
    Long,
}

/// Reads an `i32` at `*at` and moves `*at` behind it. On error `*at` is unspecified.
#[inline(always)]
pub(super) fn read_i32(bytes: &[u8], at: &mut usize) -> Result<i32, VarintError> {
    let first = *bytes.get(*at).ok_or(VarintError::Short)?;
    *at += 1;
    if first < 0x80 {
        return Ok(i32::from(first >> 1) ^ -i32::from(first & 1));
    }
    let raw = read_more(bytes, at, first, 5)? as u32;
    Ok((raw >> 1) as i32 ^ -((raw & 1) as i32))
}

/// Reads an `i64` at `*at` and moves `*at` behind it. On error `*at` is unspecified.
#[inline(always)]
pub(super) fn read_i64(bytes: &[u8], at: &mut usize) -> Result<i64, VarintError> {
    let first = *bytes.get(*at).ok_or(VarintError::Short)?;
    *at += 1;
    if first < 0x80 {
        return Ok(i64::from(first >> 1) ^ -i64::from(first & 1));
    }
    let raw = read_more(bytes, at, first, 10)?;
    Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
}

#[inline]
fn read_more(bytes: &[u8], at: &mut usize, first: u8, bytes_max: u32) -> Result<u64, VarintError> {
    let mut value = u64::from(first & 0x7f);
    for group in 1..bytes_max {
        let byte = *bytes.get(*at).ok_or(VarintError::Short)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << (7 * group);
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(VarintError::Long)
}

/// Appends an `i32`.
#[inline]
pub(super) fn write_i32(out: &mut Vec<u8>, value: i32) {
    write_u64(out, u64::from(((value << 1) ^ (value >> 31)) as u32));
}

/// Appends an `i64`.
#[inline]
pub(super) fn write_i64(out: &mut Vec<u8>, value: i64) {
    write_u64(out, ((value << 1) ^ (value >> 63)) as u64);
}

#[inline]
fn write_u64(out: &mut Vec<u8>, mut raw: u64) {
    while raw >= 0x80 {
        out.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

/// Bytes that `write_i32` writes for `value`.
#[inline]
pub(super) fn size_i32(value: i32) -> usize {
    size_u64(u64::from(((value << 1) ^ (value >> 31)) as u32))
}

/// Bytes that `write_i64` writes for `value`.
#[inline]
pub(super) fn size_i64(value: i64) -> usize {
    size_u64(((value << 1) ^ (value >> 63)) as u64)
}

#[inline]
fn size_u64(raw: u64) -> usize {
    (64 - (raw | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_and_have_the_size_that_was_foretold() {
        let edges = [
            0,
            1,
            -1,
            63,
            64,
            -64,
            -65,
            8191,
            8192,
            1 << 30,
            i64::from(i32::MAX),
            i64::from(i32::MIN),
        ];
        for value in edges.into_iter().chain([i64::MAX, i64::MIN, i64::MIN + 1]) {
            let mut out = Vec::new();
            write_i64(&mut out, value);
            assert_eq!(out.len(), size_i64(value));
            assert_eq!(read_i64(&out, &mut 0), Ok(value));
            assert_eq!(
                read_i64(&out[..out.len() - 1], &mut 0),
                Err(VarintError::Short)
            );
            if let Ok(value) = i32::try_from(value) {
                assert_eq!(read_i32(&out, &mut 0), Ok(value));
                assert_eq!(size_i32(value), out.len());
            }
        }
    }

    #[test]
    fn a_number_with_too_many_bytes_is_refused() {
        assert_eq!(read_i32(&[0xff; 6], &mut 0), Err(VarintError::Long));
        assert_eq!(read_i64(&[0xff; 11], &mut 0), Err(VarintError::Long));
    }
}
