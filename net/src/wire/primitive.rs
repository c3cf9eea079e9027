//! Fixed-size values that occur as array elements. Any core.

use super::{DecodeError, Reader, Uuid, Writer};

/// A fixed-size wire type.
pub trait Primitive: Copy {
    /// Bytes on the wire.
    const SIZE: usize;
    /// Reads one value.
    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;
    /// Writes one value.
    fn put(self, writer: &mut Writer);
}

macro_rules! primitive {
    ($($type:ty: $size:literal, $get:ident, $put:ident;)*) => {$(
        impl Primitive for $type {
            const SIZE: usize = $size;
            fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                reader.$get()
            }
            fn put(self, writer: &mut Writer) {
                writer.$put(self);
            }
        }
    )*};
}

primitive! {
    i8: 1, get_i8, put_i8;
    i16: 2, get_i16, put_i16;
    u16: 2, get_u16, put_u16;
    i32: 4, get_i32, put_i32;
    u32: 4, get_u32, put_u32;
    i64: 8, get_i64, put_i64;
    f64: 8, get_f64, put_f64;
    Uuid: 16, get_uuid, put_uuid;
}
