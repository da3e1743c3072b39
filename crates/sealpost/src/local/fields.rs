//! Header fields that local delivery looks at or takes away, found while the message streams by.
//!
//! Sees field names and line ends only; every other octet passes as it came.

/// Passes a message through without its `Return-Path:` fields (RFC 5321 §4.4: one in a delivered message, ours).
#[derive(Debug, Default)]
pub(super) struct WithoutReturnPath {
    state: State,
    /// The start of a line whose fate is not yet known; shorter than [`NAME`] and its colon but for blanks.
    held: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    /// At the start of a header line; whether the field above passed matters for a folded line.
    #[default]
    LineOfKept,
    LineOfDropped,
    /// Inside a line.
    Keep,
    Drop,
    /// Inside a line, behind a CR.
    KeepCr,
    DropCr,
    /// Behind the empty line.
    Body,
}

impl WithoutReturnPath {
    /// Takes the next piece and appends what passes.
    pub(super) fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for (at, &byte) in bytes.iter().enumerate() {
            if self.state == State::Body {
                return out.extend_from_slice(&bytes[at..]);
            }
            self.state = self.take(byte, out);
        }
    }

    /// The message is over: what was held back is no `Return-Path:`.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
    }

    fn take(&mut self, byte: u8, out: &mut Vec<u8>) -> State {
        match self.state {
            State::LineOfKept | State::LineOfDropped => self.start(byte, out),
            State::Keep | State::KeepCr => {
                out.push(byte);
                match (self.state, byte) {
                    (_, b'\r') => State::KeepCr,
                    (State::KeepCr, b'\n') => State::LineOfKept,
                    _ => State::Keep,
                }
            }
            State::Drop | State::DropCr => match (self.state, byte) {
                (_, b'\r') => State::DropCr,
                (State::DropCr, b'\n') => State::LineOfDropped,
                _ => State::Drop,
            },
            State::Body => {
                out.push(byte);
                State::Body
            }
        }
    }

    /// Holds a line back until it is clear what field it is.
    fn start(&mut self, byte: u8, out: &mut Vec<u8>) -> State {
        if self.held.is_empty() && matches!(byte, b' ' | b'\t') {
            if self.state == State::LineOfDropped {
                return State::Drop;
            }
            out.push(byte);
            return State::Keep;
        }
        self.held.push(byte);
        if self.held == b"\r\n" {
            out.append(&mut self.held);
            return State::Body;
        }
        match reads_as_return_path(&self.held) {
            Reads::Yes => {
                self.held.clear();
                State::Drop
            }
            Reads::Perhaps => self.state,
            Reads::No => {
                out.append(&mut self.held);
                match byte {
                    b'\r' => State::KeepCr,
                    _ => State::Keep,
                }
            }
        }
    }
}

enum Reads {
    Yes,
    No,
    Perhaps,
}

fn reads_as_return_path(line: &[u8]) -> Reads {
    let common = line.len().min(NAME.len());
    if line == b"\r" {
        return Reads::Perhaps; // the empty line, perhaps
    }
    if !line[..common].eq_ignore_ascii_case(&NAME[..common]) {
        return Reads::No;
    }
    // RFC 5322 §4.5.8 lets old mail have blanks before the colon; a bounded number is waited for.
    match line[common..].iter().find(|byte| !matches!(byte, b' ' | b'\t')) {
        Some(b':') => Reads::Yes,
        Some(_) => Reads::No,
        None if line.len() > NAME.len() + BLANKS_MAX => Reads::No,
        None => Reads::Perhaps,
    }
}

/// The addresses in `Delivered-To:` fields among the first octets of a message, folded to lower case. They show where
/// it has been, and so a loop. `header` may end anywhere.
pub(super) fn delivered_to(header: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for line in header.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        if line[..colon]
            .trim_ascii_end()
            .eq_ignore_ascii_case(b"Delivered-To")
        {
            let value = String::from_utf8_lossy(line[colon + 1..].trim_ascii());
            found.push(value.trim_matches(['<', '>']).to_lowercase());
        }
    }
    found
}

const NAME: &[u8] = b"Return-Path";
const BLANKS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole, and cut at every seam.
    fn check(message: &[u8], expected: &[u8]) {
        for cut in 0..=message.len() {
            let (mut filter, mut out) = (WithoutReturnPath::default(), Vec::new());
            filter.feed(&message[..cut], &mut out);
            filter.feed(&message[cut..], &mut out);
            filter.end(&mut out);
            assert_eq!(
                out,
                expected,
                "cut at {cut} of {:?}",
                String::from_utf8_lossy(message)
            );
        }
    }

    #[test]
    fn only_return_path_fields_go() {
        check(b"", b"");
        check(b"A: b\r\n\r\nx", b"A: b\r\n\r\nx");
        check(b"return-PATH : <a>\r\n\tb\r\nA: b\r\n\r\nx", b"A: b\r\n\r\nx");
        check(
            b"A: b\r\n c\r\nReturn-Path:<a>\r\nReturn-Path: <b>\r\n\r\n",
            b"A: b\r\n c\r\n\r\n",
        );
        check(
            b"A: b\r\n\r\nReturn-Path: <a>\r\n",
            b"A: b\r\n\r\nReturn-Path: <a>\r\n",
        );
        check(b"\r\nReturn-Path: <a>\r\n", b"\r\nReturn-Path: <a>\r\n");
        check(
            b"Return-Path-X: a\r\nReturn-Pat",
            b"Return-Path-X: a\r\nReturn-Pat",
        );
        check(b"Return-Path", b"Return-Path");
        check(b"Ret\r\n\r\nx", b"Ret\r\n\r\nx");
        check(b"A: b\nReturn-Path: c\r\n\r\n", b"A: b\nReturn-Path: c\r\n\r\n");
        check(b"\rReturn-Path: x\r\n", b"\rReturn-Path: x\r\n");
        check(b"\r\r\n\r\nx", b"\r\r\n\r\nx");
    }

    #[test]
    fn delivered_to_is_found_in_the_header_alone() {
        let header =
            b"Delivered-To: <Ann@X.example>\r\ndelivered-to:bob@x.example\r\nA: b\r\n\r\nDelivered-To: c@d";
        assert_eq!(delivered_to(header), ["ann@x.example", "bob@x.example"]);
    }
}
