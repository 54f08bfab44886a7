//! The few replies of 3.x and 4.x whose form is misleading.

use crate::codec::json;
use crate::item::Item;
use crate::response::Response;

/// The reply as it is meant; `None` when it is so already.
///
/// `response` came over a wire of 3.x or 4.x.
pub fn modern(command: &[u8], response: &Response) -> Option<Response> {
    match command {
        // An error whose code is 200: the contacts are synced already.
        b"ul_sync" | b"usrloc:sync" => response.is_success().then(Response::ok),
        // 3.0.0 and 3.0.1 say so in a success.
        b"cache_fetch" | b"cache:fetch" if response.is_success() => {
            let item = json::item_of(&response.body).ok()??;
            let is_missing = matches!(&*item, Item::Str(text) if *text == "Value not found");
            is_missing.then(|| Response::error(400, "Value not found"))
        }
        _ => None,
    }
}
