//! Almost valid input: seeds changed in a few places.

/// Pseudo-random numbers derived from a seed.
#[derive(Clone, Debug)]
pub(crate) struct Draws(u64);

impl Draws {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// Boundary values of lengths and counts, written in either byte order.
const EDGES: [u64; 10] =
    [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF, u64::MAX];

/// Returns one of `seeds` changed in one to eight places; sometimes random bytes only.
pub(crate) fn mutant(seeds: &[Vec<u8>], draws: &mut Draws, bytes_max: usize) -> Vec<u8> {
    if seeds.is_empty() || draws.below(16) == 0 {
        let len = draws.below(300);
        return (0..len).map(|_| draws.next() as u8).collect();
    }
    let mut bytes = seeds[draws.below(seeds.len())].clone();
    for _ in 0..=draws.below(8) {
        change(&mut bytes, seeds, draws);
    }
    bytes.truncate(bytes_max);
    bytes
}

fn change(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], draws: &mut Draws) {
    let at = draws.below(bytes.len() + 1);
    let len = draws.below((bytes.len() - at).min(64) + 1);
    match draws.below(8) {
        0 | 1 if at < bytes.len() => bytes[at] ^= 1 << draws.below(8),
        2 if at < bytes.len() => bytes[at] = draws.next() as u8,
        3 => {
            // A number of one, two, four or eight bytes.
            let edge = EDGES[draws.below(EDGES.len())];
            let width = 1 << draws.below(4);
            let number = if draws.below(2) == 0 {
                edge.to_le_bytes()[..width].to_vec()
            } else {
                edge.to_be_bytes()[8 - width..].to_vec()
            };
            for (to, from) in bytes[at..].iter_mut().zip(number) {
                *to = from;
            }
        }
        4 => {
            // Repeats a piece once or several times.
            let piece = bytes[at..at + len].repeat(1 + draws.below(3));
            bytes.splice(at..at, piece);
        }
        5 => {
            bytes.drain(at..at + len);
        }
        6 => {
            // Inserts a piece of another seed.
            let other = &seeds[draws.below(seeds.len())];
            let from = draws.below(other.len() + 1);
            let until = from + draws.below((other.len() - from).min(64) + 1);
            bytes.splice(at..at + len, other[from..until].iter().copied());
        }
        7 if draws.below(4) == 0 => bytes.truncate(at),
        _ => bytes.insert(at, draws.next() as u8),
    }
}

/// Returns the number in an environment variable.
pub(crate) fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Returns and prints the seed of this run: `default`, unless the environment sets another.
pub(crate) fn seed_or(default: impl FnOnce() -> u64) -> u64 {
    let seed = number("MILLPOND_FUZZ_SEED").unwrap_or_else(default);
    println!("MILLPOND_FUZZ_SEED={seed} repeats this run");
    seed
}

/// Returns bytes in hexadecimal; `xxd -r -p` restores them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Parses hexadecimal bytes.
#[allow(dead_code)]
pub(crate) fn bytes_of(hex: &str) -> Vec<u8> {
    let byte = |digits: &[u8]| {
        let digits = std::str::from_utf8(digits).expect("hexadecimal digits");
        u8::from_str_radix(digits, 16).expect("hexadecimal digits")
    };
    hex.as_bytes().chunks(2).map(byte).collect()
}
