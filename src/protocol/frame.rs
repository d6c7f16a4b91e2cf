//! Length-prefixed frames: a line of JSON and a blob.
//!
//! The blob is never looked into: reports pass through the engine as the bytes they came as.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};
use tokio_util::codec::{Decoder, Encoder};

/// A longer frame is a broken stream, not a message.
const MAX_FRAME: usize = 64 << 20;

const PREFIX: usize = 4;

/// One message: the header still as JSON text, the blob untouched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub header: Bytes,
    pub blob: Bytes,
}

#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of {0} bytes is over the limit of {MAX_FRAME}")]
    TooLong(usize),
    #[error("a frame without a header line")]
    NoHeader,
    #[error("a header that can't be understood: {text}")]
    Header { text: String, source: serde_json::Error },
    #[error("the stream broke")]
    Io(#[from] std::io::Error),
}

impl Frame {
    /// A frame with nothing but a header.
    pub fn new(header: &impl Serialize) -> Self {
        Self::with_blob(header, Bytes::new())
    }

    pub fn with_blob(header: &impl Serialize, blob: Bytes) -> Self {
        let header = serde_json::to_vec(header).expect("headers are plain values with string keys");
        Self { header: header.into(), blob }
    }

    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, FrameError> {
        serde_json::from_slice(&self.header).map_err(|source| FrameError::Header {
            text: String::from_utf8_lossy(&self.header).chars().take(200).collect(),
            source,
        })
    }

    /// The frame as it travels.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(PREFIX + self.len());
        self.put(&mut out);
        out.freeze()
    }

    /// What travels in front of the blob.
    pub fn head(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(PREFIX + self.header.len() + 1);
        self.put_head(&mut out);
        out.freeze()
    }

    fn len(&self) -> usize {
        self.header.len() + 1 + self.blob.len()
    }

    fn put(&self, out: &mut BytesMut) {
        out.reserve(PREFIX + self.len());
        self.put_head(out);
        out.put_slice(&self.blob);
    }

    fn put_head(&self, out: &mut BytesMut) {
        out.put_u32(u32::try_from(self.len()).expect("frames are made well below 4 GiB"));
        out.put_slice(&self.header);
        out.put_u8(b'\n');
    }
}

/// Splits a byte stream into frames.
#[derive(Debug, Default)]
pub struct FrameCodec;

impl Decoder for FrameCodec {
    type Item = Frame;
    type Error = FrameError;

    fn decode(&mut self, stream: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        if stream.len() < PREFIX {
            return Ok(None);
        }
        let length = u32::from_be_bytes([stream[0], stream[1], stream[2], stream[3]]) as usize;
        if length > MAX_FRAME {
            return Err(FrameError::TooLong(length));
        }
        if stream.len() < PREFIX + length {
            stream.reserve(PREFIX + length - stream.len());
            return Ok(None);
        }
        stream.advance(PREFIX);
        let mut body = stream.split_to(length).freeze();
        let end = body.iter().position(|&byte| byte == b'\n').ok_or(FrameError::NoHeader)?;
        let header = body.split_to(end);
        body.advance(1);
        Ok(Some(Frame { header, blob: body }))
    }
}

impl Encoder<Frame> for FrameCodec {
    type Error = FrameError;

    fn encode(&mut self, frame: Frame, out: &mut BytesMut) -> Result<(), FrameError> {
        frame.put(out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn frame(header: Value, blob: &'static [u8]) -> Frame {
        Frame::with_blob(&header, Bytes::from_static(blob))
    }

    #[test]
    fn frames_survive_any_cut_of_the_stream() {
        let sent = [frame(json!({"t": "a"}), b""), frame(json!({"t": "b", "x": "\n"}), b"\n\0{}\n")];
        let stream: Vec<u8> = sent.iter().flat_map(|frame| frame.to_bytes()).collect();
        for piece in 1..=stream.len() {
            let mut codec = FrameCodec;
            let mut buffer = BytesMut::new();
            let mut got = Vec::new();
            for bytes in stream.chunks(piece) {
                buffer.extend_from_slice(bytes);
                while let Some(frame) = codec.decode(&mut buffer).unwrap() {
                    got.push(frame);
                }
            }
            assert_eq!(got, sent, "cut every {piece} bytes");
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_it_is_awaited() {
        let mut stream = BytesMut::from(&b"\xff\xff\xff\xff"[..]);
        assert!(matches!(FrameCodec.decode(&mut stream), Err(FrameError::TooLong(_))));
    }

    #[test]
    fn a_header_of_the_wrong_shape_is_quoted() {
        let error = frame(json!({"t": 3}), b"").parse::<Vec<u8>>().unwrap_err();
        assert_eq!(error.to_string(), r#"a header that can't be understood: {"t":3}"#);
    }
}
