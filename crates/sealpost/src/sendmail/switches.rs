//! The switches of `sendmail`, as scripts use them. Many of them mean nothing here and are accepted for their sake.

/// What was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Switches {
    /// What to do.
    pub mode: Mode,
    /// `-t`: recipients stand in To, Cc and Bcc.
    pub from_header: bool,
    /// A line with a single dot ends the message, unless `-i` or `-oi` was given.
    pub dot_ends: bool,
    /// `-f`, `-r`: the envelope sender; empty for the null sender.
    pub sender: Option<String>,
    /// `-F`: the sender's full name.
    pub full_name: Option<String>,
    /// `-N`: when to be told (RFC 3461 §4.1).
    pub notify: Option<String>,
    /// `-R`: how much to return.
    pub ret: Option<String>,
    /// `-V`: a name for the envelope.
    pub envelope_id: Option<String>,
    /// `-O requiretls`: proven TLS on every hop, or it is returned (RFC 8689).
    pub require_tls: bool,
    /// Arguments that are no switches.
    pub recipients: Vec<String>,
}

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// `-bm`, and by default: a message from standard input.
    Message,
    /// `-bs`: SMTP on standard input and output.
    Session,
    /// `-bp`, or called as `mailq`.
    ShowQueue,
    /// `-q`: try what waits.
    RunQueue,
}

impl Switches {
    /// Reads the arguments behind the program's name. The error is one line.
    pub fn parse<S: AsRef<str>>(words: &[S]) -> Result<Switches, String> {
        let mut switches = Switches {
            mode: Mode::Message,
            from_header: false,
            dot_ends: true,
            sender: None,
            full_name: None,
            notify: None,
            ret: None,
            envelope_id: None,
            require_tls: false,
            recipients: Vec::new(),
        };
        let mut words = words.iter().map(AsRef::as_ref);
        while let Some(word) = words.next() {
            match word.strip_prefix('-') {
                Some("-") => {
                    switches.recipients.extend(words.by_ref().flat_map(several));
                }
                Some(switch) if !switch.is_empty() => switches.take(switch, &mut words)?,
                _ => switches.recipients.extend(several(word)),
            }
        }
        Ok(switches)
    }

    fn take<'w>(&mut self, switch: &'w str, words: &mut impl Iterator<Item = &'w str>) -> Result<(), String> {
        let mut rest = switch;
        while let Some(letter) = rest.chars().next() {
            let after = &rest[letter.len_utf8()..];
            let mut value = || match after.is_empty() {
                true => words.next().ok_or_else(|| format!("-{letter} wants a value")),
                false => Ok(after),
            };
            match letter {
                // Flags that may be written together: `-ti`.
                't' => self.from_header = true,
                'i' => self.dot_ends = false,
                'n' | 'm' | 's' | 'v' | 'U' | 'G' | 'c' => {}
                // The rest of the word, or the next one, is the value.
                'f' | 'r' | 'F' | 'N' | 'R' | 'V' | 'b' | 'o' | 'B' | 'h' | 'L' | 'O' | 'p' | 'X' | 'C'
                | 'd' => {
                    return self.set(letter, value()?);
                }
                // Written in one word: -Ac, -ep.
                'A' | 'e' => return Ok(()),
                // -q, -q15m, -qSname: all of them run the queue once.
                'q' => {
                    self.mode = Mode::RunQueue;
                    return Ok(());
                }
                other => return Err(format!("-{other} is not known; see `sealpost help sendmail`")),
            }
            rest = after;
        }
        Ok(())
    }

    fn set(&mut self, letter: char, value: &str) -> Result<(), String> {
        match letter {
            'f' | 'r' => self.sender = Some(bare(value)),
            'F' => self.full_name = Some(value.to_owned()),
            'N' => self.notify = Some(value.to_owned()),
            'R' => self.ret = Some(value.to_owned()),
            'V' => self.envelope_id = Some(value.to_owned()),
            'b' => self.take_mode(value)?,
            'O' => self.require_tls |= requires_tls(value)?,
            'o' if value.starts_with('i') => self.dot_ends = false,
            // Body type, hop count, log tag and files of an old program: nothing here.
            _ => {}
        }
        Ok(())
    }

    fn take_mode(&mut self, mode: &str) -> Result<(), String> {
        self.mode = match mode {
            "m" => Mode::Message,
            "s" => Mode::Session,
            "p" => Mode::ShowQueue,
            other => return Err(format!("-b{other} is not served; -bm, -bs and -bp are")),
        };
        Ok(())
    }
}

/// `requiretls` or `requiretls=yes`; any other option of an old program is nothing here.
fn requires_tls(option: &str) -> Result<bool, String> {
    let (name, value) = option.split_once('=').unwrap_or((option, "yes"));
    match (name.eq_ignore_ascii_case("requiretls"), value) {
        (false, _) | (true, "no") => Ok(false),
        (true, "yes") => Ok(true),
        (true, other) => Err(format!("-O requiretls is yes or no, not {other}")),
    }
}

/// Old callers write several addresses into one argument.
fn several(word: &str) -> Vec<String> {
    super::message::addresses_in(word)
}

fn bare(address: &str) -> String {
    let address = address.trim();
    address
        .strip_prefix('<')
        .and_then(|address| address.strip_suffix('>'))
        .unwrap_or(address)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Switches {
        let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
        Switches::parse(&words).unwrap()
    }

    #[test]
    fn what_scripts_write() {
        let cron = parse("-i -FCronDaemon -odi -oem -oi -t -f root");
        assert!(cron.from_header && !cron.dot_ends);
        assert_eq!(
            (cron.full_name.as_deref(), cron.sender.as_deref()),
            (Some("CronDaemon"), Some("root"))
        );
        let php = parse("-t -i -fwww@x.example");
        assert_eq!(php.sender.as_deref(), Some("www@x.example"));
        assert!(parse("-ti").from_header);
        assert_eq!(
            parse("-oi -f <> -- -odd@x.example a@b,c@d").recipients,
            ["-odd@x.example", "a@b", "c@d"]
        );
        assert_eq!(parse("-f <>").sender.as_deref(), Some(""));
        assert_eq!(parse("-bs").mode, Mode::Session);
        assert_eq!(parse("-bp").mode, Mode::ShowQueue);
        assert_eq!(parse("-q").mode, Mode::RunQueue);
        assert_eq!(parse("-q15m").mode, Mode::RunQueue);
        assert_eq!(
            parse("-bm -B 8BITMIME -N success,delay -R hdrs -V id a@b").recipients,
            ["a@b"]
        );
        assert!(parse("-O requiretls a@b").require_tls && parse("-ORequireTLS=yes").require_tls);
        assert!(!parse("-O requiretls=no -O x=y a@b").require_tls);
        assert_eq!(parse("-O DeliveryMode=b -L tag -v a@b").recipients, ["a@b"]);
    }

    #[test]
    fn what_is_not_served_is_said() {
        for line in ["-Orequiretls=perhaps", "-bd", "-Z", "-f", "-bi"] {
            assert!(Switches::parse(&[line]).is_err(), "{line}");
        }
    }
}
