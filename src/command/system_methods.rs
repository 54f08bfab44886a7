//! The names of the methods by which XML-RPC clients ask a server about itself.

pub(super) const LIST: &str = "system.listMethods";
pub(super) const HELP: &str = "system.methodHelp";
pub(super) const SIGNATURE: &str = "system.methodSignature";

/// The names that this answers to, and the one that the codec itself takes apart.
pub(super) const NAMES: [(&str, &str); 4] = [
    (LIST, "The names of all methods."),
    (HELP, "What a method does, in a line."),
    (SIGNATURE, "The types of a method's result and parameters, for every way to call it."),
    ("system.multicall", "Runs several methods."),
];

/// Whether a method asks about the server.
pub fn is_question(method: &[u8]) -> bool {
    [LIST, HELP, SIGNATURE].iter().any(|name| method == name.as_bytes())
}

/// The names of the methods of this file.
pub fn own_names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().map(|(name, _)| *name)
}
