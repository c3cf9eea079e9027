//! One connection to a broker: raw frames out, frames in without a copy.
//!
//! Runs on the executor that made it. The receiving buffer is reused from frame to frame.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use net::messages::{ApiKey, response_header_version};
use net::platform::{ReadHalf, Runtime, WriteHalf};
use net::wire::{DecodeError, EncodeError, Reader, Writer};

use crate::request;

/// The longest answer that is taken.
const FRAME_BYTES_MAX: usize = 1 << 30;
const BUFFER_BYTES: usize = 256 << 10;
/// A connection or an answer that takes longer does not come any more.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a connection cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// The socket failed or closed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// An answer cannot be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A request cannot be written.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The broker refused.
    #[error("{0} was answered with error {1}")]
    Refused(&'static str, i16),
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
}

/// Both halves.
pub(crate) struct Link {
    /// Requests.
    pub(crate) writer: WriteHalf,
    /// Answers.
    pub(crate) frames: Frames,
    runtime: Runtime,
}

impl Link {
    /// Connects.
    pub(crate) async fn open(runtime: &Runtime, address: SocketAddr) -> Result<Link, LinkError> {
        let stream = runtime
            .timeout(REQUEST_TIMEOUT, runtime.connect(address))
            .await
            .map_err(|_| LinkError::TimedOut)??;
        let (half, writer) = stream.split();
        Ok(Link {
            writer,
            frames: Frames::new(half),
            runtime: runtime.clone(),
        })
    }

    /// One request and its answer's body, with nothing else under way.
    pub(crate) async fn ask(
        &mut self,
        api: ApiKey,
        version: i16,
        encode: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
    ) -> Result<Vec<u8>, LinkError> {
        let frame = request::frame(api, version, -1, encode)?;
        self.write(Bytes::from(frame)).await?;
        let answer = self.frames.answer(&self.runtime).await?;
        Ok(body(api, version, answer)?.1.to_vec())
    }

    /// One frame, in time.
    pub(crate) async fn write(&mut self, frame: Bytes) -> Result<(), LinkError> {
        let frames = [frame];
        let writing = self.writer.write_all(&frames);
        let written = self.runtime.timeout(REQUEST_TIMEOUT, writing).await;
        Ok(written.map_err(|_| LinkError::TimedOut)??)
    }
}

/// Correlation id and body of an answer.
pub(crate) fn body(api: ApiKey, version: i16, frame: &[u8]) -> Result<(i32, &[u8]), DecodeError> {
    let mut reader = Reader::new(frame);
    let correlation_id = reader.get_i32()?;
    if response_header_version(api, version) >= 1 {
        for _ in 0..reader.get_unsigned_varint()? {
            reader.get_unsigned_varint()?;
            let length = reader.get_unsigned_varint()?;
            reader.take(length as usize)?;
        }
    }
    Ok((correlation_id, reader.rest()))
}

/// Cuts what arrives into frames.
pub(crate) struct Frames {
    half: ReadHalf,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Frames {
    pub(crate) fn new(half: ReadHalf) -> Self {
        Self {
            half,
            buffer: vec![0; BUFFER_BYTES],
            start: 0,
            end: 0,
        }
    }

    /// The next frame without its length; `None` when the other end closed. It lies in the buffer until the next call.
    pub(crate) async fn next(&mut self) -> io::Result<Option<&[u8]>> {
        self.fill_to(4).await?;
        if self.end - self.start < 4 {
            return Ok(None);
        }
        let length = self.buffer[self.start..self.start + 4]
            .try_into()
            .expect("four bytes");
        let length = usize::try_from(i32::from_be_bytes(length))
            .ok()
            .filter(|length| *length <= FRAME_BYTES_MAX)
            .ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, "an impossible frame length")
            })?;
        self.fill_to(4 + length).await?;
        let frame = self.start + 4..self.start + 4 + length;
        if self.end < frame.end {
            return Ok(None);
        }
        self.start = frame.end;
        Ok(Some(&self.buffer[frame]))
    }

    /// The next frame, which has to come, and in time.
    pub(crate) async fn answer(&mut self, runtime: &Runtime) -> Result<&[u8], LinkError> {
        let next = runtime.timeout(REQUEST_TIMEOUT, self.next()).await;
        let closed = || io::Error::from(io::ErrorKind::UnexpectedEof);
        Ok(next.map_err(|_| LinkError::TimedOut)??.ok_or_else(closed)?)
    }

    /// Whether a whole frame has arrived already.
    pub(crate) fn has_frame(&self) -> bool {
        let arrived = &self.buffer[self.start..self.end];
        let Some(length) = arrived.first_chunk::<4>() else {
            return false;
        };
        let length = i32::from_be_bytes(*length);
        usize::try_from(length).is_ok_and(|length| arrived.len() >= 4 + length)
    }

    /// Reads until `needed` bytes are there or the other end closed.
    async fn fill_to(&mut self, needed: usize) -> io::Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.start + needed > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if needed > self.buffer.len() {
                self.buffer.resize(needed + BUFFER_BYTES, 0);
            }
        }
        while self.end - self.start < needed {
            let count = self.half.read(&mut self.buffer[self.end..]).await?;
            if count == 0 {
                return Ok(());
            }
            self.end += count;
        }
        Ok(())
    }
}
