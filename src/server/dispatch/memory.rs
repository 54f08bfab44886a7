//! Whether there is memory for a request: an allocation that fails within a parser would end the process.

/// What is smaller is read without a question.
const SMALL: usize = 64 << 10;
/// How much memory reading and running a request takes, by its size: two bytes may be a parameter of their own.
const TIMES: usize = 64;

/// Whether a request of so many bytes can be read and run. Asks the allocator, and gives back what it got.
pub(crate) fn has_room_for(size: usize) -> bool {
    size <= SMALL || Vec::<u8>::new().try_reserve_exact(size.saturating_mul(TIMES)).is_ok()
}
