//! What destinations are like, what honestly happens to them, and who attacks them.

use super::{DAY, Dice, HOUR, YEAR};

/// How the hosts of a destination do TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A large provider: several hosts, certificates that prove their names, often changed.
    Hosted,
    /// Its own host with a certificate that proves its name.
    Proven,
    /// Its own host, self-signed.
    SelfSigned,
    /// DANE.
    Dane,
    /// MTA-STS in force, with certificates that prove names.
    Sts,
    /// No TLS at all.
    Plain,
    /// Several machines behind one name, so many in a hundred with a certificate that proves nothing.
    MixedCertificates(u8),
    /// Several machines behind one name, so many in a hundred without TLS.
    MixedTls(u8),
    /// Two exchangers, the second without TLS and used when the first is out.
    PlainBackup,
}

/// Something that happens to a destination for a time.
#[derive(Clone, Debug)]
pub struct Spell {
    pub from: u64,
    pub until: u64,
    pub what: Trouble,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// The first host does not answer.
    Outage,
    /// Its certificate ran out; the key is the same.
    Expired,
    /// Another certificate by mistake, with another key.
    WrongCertificate,
    /// The keyword is missing by mistake.
    NoKeyword,
    /// From now on it is of this kind, at other hosts.
    Migrated(Kind),
    /// TLS is switched off for good.
    Off,
    /// The certificate is self-signed from now on, with another key.
    Unproven,
    /// Someone takes the keyword away.
    Strip,
    /// Someone breaks every handshake.
    Garble,
    /// Someone answers in its place with a certificate of his own.
    Impersonate,
    /// Someone forges an answer of DNS here and there: the host's address leads to him, who shows clear text.
    ForgeClear,
    /// The same; he shows TLS.
    ForgeTls,
    /// The same; the exchanger itself is his, under his own name with a certificate that proves that.
    ForgeMx,
}

impl Trouble {
    pub fn is_attack(self) -> bool {
        use Trouble::{ForgeClear, ForgeMx, ForgeTls, Garble, Impersonate, Strip};
        matches!(
            self,
            Strip | Garble | Impersonate | ForgeClear | ForgeTls | ForgeMx
        )
    }

    /// Forgers answer only now and then.
    pub fn is_forged(self) -> bool {
        matches!(self, Trouble::ForgeClear | Trouble::ForgeTls | Trouble::ForgeMx)
    }

    /// Honest and lasting: less than before, for good.
    pub fn is_downgrade(self) -> bool {
        matches!(self, Trouble::Off | Trouble::Unproven)
    }
}

/// A destination as it is.
#[derive(Clone, Debug)]
pub struct Destination {
    pub number: u32,
    pub kind: Kind,
    /// Messages a day.
    pub rate: f64,
    /// Whether it puts off what it does not know.
    pub greylists: bool,
    pub spells: Vec<Spell>,
    /// What its own dice begin with.
    pub seed: u64,
}

impl Destination {
    pub fn draw(number: u32, dice: &mut Dice) -> Destination {
        let kind = kind(dice);
        let mut destination = Destination {
            number,
            kind,
            // From one message a month to ten a day.
            rate: 0.033 * (dice.part() * (300f64).ln()).exp(),
            greylists: kind != Kind::Hosted && dice.chance(0.2),
            spells: Vec::new(),
            seed: dice.roll(),
        };
        destination.honest(dice);
        if number.is_multiple_of(10) {
            destination.attacked(dice);
        }
        destination
    }

    /// What happens without an attacker, so often in a year.
    fn honest(&mut self, dice: &mut Dice) {
        let own = self.kind != Kind::Hosted;
        let proven = matches!(
            self.kind,
            Kind::Proven | Kind::MixedCertificates(_) | Kind::PlainBackup
        );
        let tls = self.kind != Kind::Plain;
        self.may(
            dice,
            if own { 1.0 } else { 0.1 },
            (HOUR, 12 * HOUR),
            Trouble::Outage,
        );
        if proven {
            self.may(dice, 0.02, (DAY, 7 * DAY), Trouble::Expired);
            self.may(dice, 0.001, (HOUR, DAY), Trouble::WrongCertificate);
            self.may(dice, 0.001, (YEAR, YEAR), Trouble::Unproven);
        }
        if own && tls {
            self.may(dice, 0.001, (600, 8 * HOUR), Trouble::NoKeyword);
            self.may(dice, 0.0002, (YEAR, YEAR), Trouble::Off);
        }
        if self.kind != Kind::Dane && self.kind != Kind::Sts {
            let kind = kind(dice);
            self.may(dice, 0.04, (YEAR, YEAR), Trouble::Migrated(kind));
        }
    }

    /// One of ten destinations meets one attacker, after a third of the year.
    fn attacked(&mut self, dice: &mut Dice) {
        let (what, length) = match dice.roll() % 10 {
            0 => (Trouble::Strip, HOUR),
            1 => (Trouble::Strip, DAY),
            2 => (Trouble::Strip, 30 * DAY),
            3 => (Trouble::Garble, DAY),
            4 => (Trouble::Impersonate, DAY),
            5 => (Trouble::ForgeClear, 30 * DAY),
            6 | 7 => (Trouble::ForgeTls, 30 * DAY),
            _ => (Trouble::ForgeMx, 30 * DAY),
        };
        // Some forgers are there from the first session on.
        let early = what.is_forged() && dice.chance(0.5);
        let from = if early {
            0
        } else {
            dice.between(YEAR / 3, YEAR - 31 * DAY)
        };
        let until = from + length;
        self.spells.push(Spell { from, until, what });
    }

    fn may(&mut self, dice: &mut Dice, a_year: f64, (least, most): (u64, u64), what: Trouble) {
        let mut from = dice.gap(a_year / 365.0);
        while from < YEAR {
            let until = from + dice.between(least, most);
            self.spells.push(Spell { from, until, what });
            from = until + dice.gap(a_year / 365.0);
        }
    }

    /// What happens at this time.
    pub fn troubles(&self, at: u64) -> impl Iterator<Item = Trouble> {
        let now = self
            .spells
            .iter()
            .filter(move |spell| (spell.from..spell.until).contains(&at));
        now.map(|spell| spell.what)
    }

    pub fn has(&self, what: Trouble, at: u64) -> bool {
        self.troubles(at).any(|known| known == what)
    }
}

fn kind(dice: &mut Dice) -> Kind {
    match dice.roll() % 1000 {
        0..550 => Kind::Hosted,
        550..700 => Kind::Proven,
        700..900 => Kind::SelfSigned,
        900..930 => Kind::Dane,
        930..950 => Kind::Sts,
        950..990 => Kind::Plain,
        990..995 => Kind::MixedCertificates([3, 10, 30, 50][(dice.roll() % 4) as usize]),
        995..998 => Kind::MixedTls([3, 10, 30, 50][(dice.roll() % 4) as usize]),
        _ => Kind::PlainBackup,
    }
}
