//! The bytes that a JSON string escapes.

/// The character after the backslash for each byte that needs one; `u` for `\u00xx`, 0 for none.
pub(super) static ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = b'u';
        byte += 1;
    }
    table[0x08] = b'b';
    table[0x09] = b't';
    table[0x0a] = b'n';
    table[0x0c] = b'f';
    table[0x0d] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
};

/// How many bytes at the start are neither quote, backslash nor control bytes. Looks at eight bytes at once.
pub(super) fn plain_len(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    let plain_words = bytes.chunks_exact(8).take_while(|word| {
        let word = u64::from_ne_bytes([word[0], word[1], word[2], word[3], word[4], word[5], word[6], word[7]]);
        // The high bit of a byte shows that it is below 0x20, a quote (0x22) or a backslash (0x5c); bytes
        // above the first such one may show it for no reason.
        let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word;
        let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
        (below(word, 0x20) | is(b'"') | is(b'\\')) & HIGHS == 0
    });
    let len = plain_words.count() * 8;
    let rest = &bytes[len..];
    len + rest.iter().position(|byte| ESCAPES[*byte as usize] != 0).unwrap_or(rest.len())
}
