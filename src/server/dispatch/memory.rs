//! A check for memory before a request is read: a failed allocation within a parser would end the process.

/// The server reads smaller requests without this check.
const SMALL: usize = 64 << 10;
/// How much memory reading and running a request takes, by its size: two bytes may be a parameter of their own.
const TIMES: usize = 64;

/// Returns true if a request of `size` bytes can be read and run. Allocates that memory and frees it again.
pub(crate) fn has_room_for(size: usize) -> bool {
    size <= SMALL || Vec::<u8>::new().try_reserve_exact(size.saturating_mul(TIMES)).is_ok()
}
