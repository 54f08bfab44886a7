//! The names of a command, whichever of them a caller used.

use crate::catalog::names;
use crate::command::permit::Permit;
use crate::item::Str;

/// A command of this name ends a server, so no caller's request for it goes anywhere.
pub(super) const NEVER: &str = "kill";

/// The names of a command, whichever of them a caller used.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// The name before 4.0.
    pub(super) flat: Str,
    pub(super) module: Str,
    /// The name of 4.0.
    pub(super) canonical: Option<Str>,
}

impl Names {
    pub(super) fn of(method: &[u8]) -> Self {
        let flat = names::flat_name(method);
        let module = names::module_of(method).map_or_else(|| "upstream".into(), Str::from);
        let canonical = names::canonical_name(method).map(Str::from);
        Names { flat, module, canonical }
    }

    /// Returns true if a pattern matches any name of the command.
    pub(super) fn match_any(&self, patterns: &[String]) -> bool {
        let canonical = self.canonical.as_deref().unwrap_or_default();
        patterns.iter().any(|pattern| [&self.flat, canonical].iter().any(|name| Permit::is_meant(pattern, name)))
    }
}
