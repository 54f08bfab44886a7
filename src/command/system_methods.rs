//! The names of XML-RPC's introspection methods.

pub(super) const LIST: &str = "system.listMethods";
pub(super) const HELP: &str = "system.methodHelp";
pub(super) const SIGNATURE: &str = "system.methodSignature";

/// Their names and help. `system.multicall` is handled by the codec.
pub(super) const NAMES: [(&str, &str); 4] = [
    (LIST, "The names of all methods."),
    (HELP, "The help of a method, in one line."),
    (SIGNATURE, "The types of a method's result and parameters, for every way to call it."),
    ("system.multicall", "Runs several methods."),
];

/// Returns true for an introspection method.
pub fn is_question(method: &[u8]) -> bool {
    [LIST, HELP, SIGNATURE].iter().any(|name| method == name.as_bytes())
}

/// The names of these methods.
pub fn own_names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().map(|(name, _)| *name)
}
