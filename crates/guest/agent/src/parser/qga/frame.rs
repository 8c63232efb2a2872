//! Where one message ends and the next begins: a scanner over bytes that come in any pieces.
//!
//! It follows QEMU's dialect: strings in double or single quotes, a message ends where its braces and brackets
//! are closed, no separator is needed, and after a byte that cannot be there everything is skipped up to a
//! control character or one of `{}[]:,`. The byte 0xFF, which occurs in no text, drops what has come in part;
//! where nothing was dropped it is silent (R-Q2).

/// What the scanner found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A whole message; its text is [`Framer::text`] until the scanner is used again.
    Message,
    /// What came is no message; the text is for the client.
    Error(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    /// In a string that this quote ends.
    Text(u8),
    /// After a backslash in such a string.
    Escape(u8),
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
    Word,
    /// After an error: skip to a byte that starts something.
    Recovery,
}

/// What a byte means in a state.
enum Step {
    To(State),
    /// The token ended before this byte.
    EndsBefore,
    /// The token ended with this byte.
    EndsWith,
    Stray,
}

/// Bytes of a stray token that an error text shows.
const SHOWN: usize = 64;
/// Buffers larger than this are given back after their message.
const KEPT: usize = 16 << 10;

/// The scanner.
#[derive(Debug)]
pub struct Framer {
    text: Vec<u8>,
    token: usize,
    state: State,
    braces: i32,
    brackets: i32,
    /// The message is too long: scan to its end without keeping it.
    overflow: bool,
    /// `text` was given out and goes at the next call.
    given: bool,
    most_bytes: usize,
    most_depth: usize,
}

impl Framer {
    /// For messages of at most `most_bytes`, nested at most `most_depth` deep.
    #[must_use]
    pub fn new(most_bytes: usize, most_depth: usize) -> Self {
        Self {
            text: Vec::new(),
            token: 0,
            state: State::Start,
            braces: 0,
            brackets: 0,
            overflow: false,
            given: false,
            most_bytes,
            most_depth,
        }
    }

    /// The message last found, or what has come of the next.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Scans on; takes what it has seen from the front of `input`. `None`: all is seen, and no message ended.
    pub fn next(&mut self, input: &mut &[u8]) -> Option<Event> {
        if self.given {
            self.reset();
        }
        while let Some((&byte, rest)) = input.split_first() {
            if let State::Text(quote) = self.state {
                let plain = |b: &u8| *b != quote && *b != b'\\' && (0x20..0xFE).contains(b);
                let run = input.iter().position(|b| !plain(b)).unwrap_or(input.len());
                if run > 0 {
                    let (run, rest) = input.split_at(run);
                    *input = rest;
                    if let Some(event) = self.keep(run) {
                        return Some(event);
                    }
                    continue;
                }
            }
            match self.step(byte) {
                Step::To(State::Start) => *input = rest,
                Step::To(State::Recovery) => {
                    *input = rest;
                    self.state = State::Recovery;
                }
                Step::To(state) => {
                    *input = rest;
                    if self.state == State::Start {
                        self.token = self.text.len();
                    }
                    self.state = state;
                    if let Some(event) = self.keep(&[byte]) {
                        return Some(event);
                    }
                }
                Step::EndsBefore => {
                    let recovered = self.state == State::Recovery;
                    self.state = State::Start;
                    if recovered {
                        continue;
                    }
                    if let Some(event) = self.token_ended() {
                        return Some(event);
                    }
                }
                Step::EndsWith => {
                    *input = rest;
                    if self.state == State::Start {
                        self.token = self.text.len();
                    }
                    self.state = State::Start;
                    match byte {
                        b'{' => self.braces += 1,
                        b'}' => self.braces -= 1,
                        b'[' => self.brackets += 1,
                        b']' => self.brackets -= 1,
                        _ => {}
                    }
                    let long = self.keep(&[byte]);
                    let event = self.token_ended();
                    if long.is_some() || event.is_some() {
                        return long.or(event);
                    }
                }
                Step::Stray => {
                    *input = rest;
                    if let Some(event) = self.stray(byte) {
                        return Some(event);
                    }
                }
            }
        }
        None
    }

    fn step(&self, byte: u8) -> Step {
        use State as S;
        use Step::{EndsBefore, EndsWith, Stray, To};
        match (self.state, byte) {
            (S::Start, b' ' | b'\t' | b'\r' | b'\n') => To(S::Start),
            (S::Start, b'{' | b'}' | b'[' | b']' | b':' | b',') => EndsWith,
            (S::Start, b'"' | b'\'') => To(S::Text(byte)),
            (S::Start, b'-') => To(S::Minus),
            (S::Start | S::Minus, b'0') => To(S::Zero),
            (S::Start | S::Minus, b'1'..=b'9') => To(S::Integer),
            (S::Start | S::Word, b'a'..=b'z') => To(S::Word),
            (S::Text(quote), _) if byte == quote => EndsWith,
            (S::Text(quote), b'\\') => To(S::Escape(quote)),
            (S::Escape(quote), 0x20..=0xFD) => To(S::Text(quote)),
            (S::Integer, b'0'..=b'9') => To(S::Integer),
            (S::Zero, b'0'..=b'9') => Stray,
            (S::Zero | S::Integer, b'.') => To(S::Point),
            (S::Point | S::Fraction, b'0'..=b'9') => To(S::Fraction),
            (S::Zero | S::Integer | S::Fraction, b'e' | b'E') => To(S::Exponent),
            (S::Exponent, b'+' | b'-') => To(S::ExponentSign),
            (S::Exponent | S::ExponentSign | S::ExponentDigits, b'0'..=b'9') => {
                To(S::ExponentDigits)
            }
            (S::Zero | S::Integer | S::Fraction | S::ExponentDigits | S::Word, _) => EndsBefore,
            (S::Recovery, b'{' | b'}' | b'[' | b']' | b':' | b',' | 0..=0x1F | 0xFE) => EndsBefore,
            (S::Recovery, _) => To(S::Recovery),
            _ => Stray,
        }
    }

    /// Adds to the message; says so when that makes it too long.
    fn keep(&mut self, bytes: &[u8]) -> Option<Event> {
        if self.overflow {
            return None;
        }
        if self.text.len() + bytes.len() > self.most_bytes {
            self.text = Vec::new();
            self.token = 0;
            self.overflow = true;
            return Some(Event::Error("JSON token size limit exceeded".to_owned()));
        }
        self.text.extend_from_slice(bytes);
        None
    }

    fn token_ended(&mut self) -> Option<Event> {
        let depth = usize::try_from(self.braces.saturating_add(self.brackets)).unwrap_or(0);
        let open = self.braces >= 0 && self.brackets >= 0 && depth > 0;
        if !open {
            let silent = self.overflow;
            if silent {
                self.reset();
                return None;
            }
            self.given = true;
            return Some(Event::Message);
        }
        if depth > self.most_depth {
            let silent = self.overflow;
            self.reset();
            return (!silent).then(|| Event::Error("JSON nesting depth limit exceeded".to_owned()));
        }
        // Two tokens that meet in the text must stay two.
        self.keep(b" ")
    }

    fn stray(&mut self, byte: u8) -> Option<Event> {
        let nothing_lost = self.text.is_empty() && self.state == State::Start;
        let silent = self.overflow || (byte == 0xFF && nothing_lost);
        let start = if self.state == State::Start { self.text.len() } else { self.token };
        let mut token = self.text.get(start..).unwrap_or_default().to_vec();
        token.truncate(SHOWN);
        if byte != 0 {
            token.push(byte);
        }
        self.reset();
        self.state = State::Recovery;
        let token = String::from_utf8_lossy(&token);
        (!silent).then(|| Event::Error(format!("JSON parse error, stray '{token}'")))
    }

    /// Forgets what has come of a message.
    fn reset(&mut self) {
        self.text.clear();
        self.text.shrink_to(KEPT);
        self.token = 0;
        self.state = State::Start;
        (self.braces, self.brackets) = (0, 0);
        self.overflow = false;
        self.given = false;
    }
}
