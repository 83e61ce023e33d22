//! Bytes of a stream become whole messages (RFC 3261 §18.3) and keep-alives (RFC 5626 §3.5.1).

use memchr::memmem;

use super::message::{Headers, Limits};

/// Collects the bytes of one connection; holds no more than one message and one read.
#[derive(Debug)]
pub struct Framer {
    limits: Limits,
    buffer: Vec<u8>,
    /// How far the search for the end of the headers has come.
    searched: usize,
    /// Where the message ends, once its headers are complete: they are read once, however slowly a body comes.
    whole: Option<usize>,
}

/// What a stream held.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// A whole message, headers and body.
    Message(Vec<u8>),
    /// A double CRLF between messages: the peer wants a CRLF back.
    Ping,
}

/// The stream cannot be read further: where the next message begins is unknown. Answer and close.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Lost {
    /// What is wrong.
    pub what: String,
    /// What the request that was being read is answered with.
    pub status: u16,
    /// What was read of that message.
    pub head: Vec<u8>,
}

impl Framer {
    /// A framer for a new connection.
    pub fn new(limits: Limits) -> Framer {
        Framer {
            limits,
            buffer: Vec::new(),
            searched: 0,
            whole: None,
        }
    }

    /// Adds bytes that were read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether part of a message is waiting for its rest. Line ends are none: the answer to a keep-alive stays in
    /// the buffer until the next message.
    pub fn is_partial(&self) -> bool {
        !self.buffer.iter().all(|b| b"\r\n".contains(b))
    }

    /// The next whole frame; `None` when more bytes are needed.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Lost> {
        if self.buffer.starts_with(b"\r\n\r\n") {
            self.take(4);
            return Ok(Some(Frame::Ping));
        }
        // §7.5: single line ends between messages, such as the answer to our own keep-alive.
        while self.buffer.starts_with(b"\r\n")
            && self.buffer.len() > 2
            && !b"\r".contains(&self.buffer[2])
        {
            self.take(2);
        }
        if matches!(self.buffer.as_slice(), b"" | b"\r" | b"\r\n" | b"\r\n\r") {
            // A lone CRLF waits in the buffer; it may be the first half of a ping.
            return Ok(None);
        }
        if self.whole.is_none() {
            self.whole = self.end_of_message()?;
        }
        let Some(whole) = self.whole else {
            return Ok(None);
        };
        if self.buffer.len() < whole {
            return Ok(None);
        }
        let message = self.buffer[..whole].to_vec();
        self.take(whole);
        Ok(Some(Frame::Message(message)))
    }

    /// Where the message ends, once its headers are complete.
    fn end_of_message(&mut self) -> Result<Option<usize>, Lost> {
        let Some(end) = self.end_of_headers()? else {
            return Ok(None);
        };
        let whole = end.saturating_add(self.body_length(end)?);
        if whole > self.limits.max_message {
            let what = format!(
                "the message of {whole} octets is over sip.max_message ({})",
                self.limits.max_message
            );
            return Err(self.lost(413, what));
        }
        Ok(Some(whole))
    }

    /// Where the body begins. Stray line ends, and headers that never end, are found here.
    fn end_of_headers(&mut self) -> Result<Option<usize>, Lost> {
        let from = self.searched.saturating_sub(3);
        let found = memmem::find(&self.buffer[from..], b"\r\n\r\n").map(|at| from + at + 4);
        let head = &self.buffer[from..found.unwrap_or(self.buffer.len())];
        if memmem::find(head, b"\n\n").is_some() {
            return Err(self.lost(400, "lines end with LF, not with CRLF".into()));
        }
        if found.is_none() && self.buffer.len() > self.limits.max_message {
            let what = format!(
                "headers are over sip.max_message ({})",
                self.limits.max_message
            );
            return Err(self.lost(513, what));
        }
        // Lines are counted only when one has ended, or single octets would each cost the whole buffer.
        if found.is_none()
            && head.contains(&b'\n')
            && self.buffer.iter().filter(|b| **b == b'\n').count() > self.limits.max_headers
        {
            let what = format!(
                "more than {} header lines (sip.max_headers)",
                self.limits.max_headers
            );
            return Err(self.lost(400, what));
        }
        self.searched = self.buffer.len();
        Ok(found)
    }

    fn body_length(&self, end: usize) -> Result<usize, Lost> {
        let head = String::from_utf8_lossy(&self.buffer[..end]);
        let mut lines = head.split("\r\n");
        let start_line = lines.next().unwrap_or_default();
        if !start_line.contains("SIP/") {
            return Err(self.lost(400, "this is no SIP".into()));
        }
        let mut lengths = Headers::default();
        let mut has_type = false;
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let name = name.trim_end();
            let is = |full: &str, short: &str| {
                name.eq_ignore_ascii_case(full) || name.eq_ignore_ascii_case(short)
            };
            if is("Content-Length", "l") {
                lengths.push("Content-Length", value.trim());
            }
            has_type |= is("Content-Type", "c");
        }
        match super::message::content_length(&lengths) {
            Ok(Some(length)) => Ok(length),
            // Meta's printed 407 has none (SIP guide, 2025-12-15); nothing follows it.
            Ok(None) if !has_type => Ok(0),
            Ok(None) => Err(self.lost(400, "Content-Length is missing on a stream".into())),
            Err(what) => Err(self.lost(400, what)),
        }
    }

    fn lost(&self, status: u16, what: String) -> Lost {
        // Enough for an answer; never all of what a flood sent.
        let head = self.buffer[..self.buffer.len().min(16_384)].to_vec();
        Lost { what, status, head }
    }

    fn take(&mut self, octets: usize) {
        self.buffer.drain(..octets);
        self.searched = 0;
        self.whole = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(bytes: &[u8], step: usize) -> Result<Vec<Frame>, Lost> {
        let mut framer = Framer::new(Limits {
            max_message: 500,
            max_headers: 8,
        });
        let mut frames = Vec::new();
        for piece in bytes.chunks(step) {
            framer.push(piece);
            while let Some(frame) = framer.next_frame()? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    const TWO: &[u8] =
        b"\r\n\r\nA SIP/2.0\r\nl: 3\r\n\r\nabc\r\nB SIP/2.0\r\nContent-Length :   0\r\n\r\n";

    #[test]
    fn messages_are_found_whatever_the_reads_are() {
        let expected = vec![
            Frame::Ping,
            Frame::Message(b"A SIP/2.0\r\nl: 3\r\n\r\nabc".to_vec()),
            Frame::Message(b"B SIP/2.0\r\nContent-Length :   0\r\n\r\n".to_vec()),
        ];
        for step in 1..TWO.len() {
            assert_eq!(
                frames(TWO, step).unwrap(),
                expected,
                "{step} octets at a time"
            );
        }
    }

    #[test]
    fn what_cannot_be_framed_is_lost_with_a_reason() {
        let status = |bytes: &[u8]| frames(bytes, 7).unwrap_err().status;
        assert_eq!(status(b"A SIP/2.0\r\nl: -1\r\n\r\n"), 400);
        assert_eq!(status(b"A SIP/2.0\r\nl: 1\r\nl: 2\r\n\r\n"), 400);
        assert_eq!(status(b"A SIP/2.0\r\nl: 9223372036854775808\r\n\r\n"), 413);
        assert_eq!(status(b"A SIP/2.0\r\nc: a/b\r\n\r\nabc"), 400);
        assert_eq!(status(b"A SIP/2.0\nB: c\n\n"), 400);
        assert_eq!(status(b"GET / HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(status(&b"v: x\r\n".repeat(9)), 400);
        assert_eq!(status(&[b'x'; 501]), 513);
    }

    #[test]
    fn the_answer_to_a_keep_alive_is_no_part_of_a_message() {
        let mut framer = Framer::new(Limits::default());
        framer.push(b"\r\n");
        assert_eq!(framer.next_frame().unwrap(), None);
        assert!(!framer.is_partial());
        framer.push(b"A");
        assert_eq!(framer.next_frame().unwrap(), None);
        assert!(framer.is_partial());
    }

    #[test]
    fn a_response_without_a_length_has_no_body() {
        let bytes = b"SIP/2.0 407 Proxy\r\nVia: x\r\n\r\n";
        assert_eq!(frames(bytes, 5).unwrap(), [Frame::Message(bytes.to_vec())]);
    }
}
