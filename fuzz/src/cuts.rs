//! How a stream of octets is cut into reads.

/// The ways in which each stream is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cuts {
    /// One read.
    Whole,
    /// One octet a read.
    Octets,
    /// Reads of lengths that follow from this seed.
    Seeded(u8),
}

impl Cuts {
    /// The pieces of `stream` in order; together they are all of it.
    pub fn of(self, stream: &[u8]) -> Vec<&[u8]> {
        let mut rest = stream;
        let mut pieces = Vec::new();
        let mut dice = match self {
            Cuts::Seeded(seed) => u32::from(seed) | 1,
            Cuts::Whole | Cuts::Octets => 1,
        };
        while !rest.is_empty() {
            let length = match self {
                Cuts::Whole => rest.len(),
                Cuts::Octets => 1,
                Cuts::Seeded(_) => {
                    dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (dice >> 24) as usize % 40 + 1
                }
            };
            let (piece, behind) = rest.split_at(length.min(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        pieces
    }
}
