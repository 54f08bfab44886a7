//! The commands of a server by name (`lookup_mi_cmd`): bare, `module:name` and alias.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Command, CommandFlags};
use crate::item::Str;
use crate::response::Failure;

/// All commands of one server.
#[derive(Default)]
pub struct Registry {
    /// In the order of registration, in which `which` lists them.
    in_order: BTreeMap<u64, Arc<Command>>,
    next: u64,
    /// By `module:name`, with the place in the order.
    canonical: HashMap<Str, (u64, Arc<Command>)>,
    /// By name within the module: several modules may have one.
    bare: HashMap<Str, Vec<Arc<Command>>>,
    aliases: HashMap<Str, Vec<Arc<Command>>>,
}

/// A command cannot be registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// The name is taken.
    #[error("command '{0}' is registered already")]
    Duplicate(Str),
    /// No wire can carry the name.
    #[error("'{name}' cannot name a {what}: expected one or more bytes without blanks, ':' and '\"'")]
    BadName {
        /// `command`, `module` or `alias`.
        what: &'static str,
        /// The rejected name.
        name: Str,
    },
}

impl Registry {
    /// Adds a command. It may replace a built-in command; any other command of its name is an error.
    pub fn register(&mut self, command: Command) -> Result<Arc<Command>, RegisterError> {
        check_name("module", &command.module)?;
        check_name("command", &command.name)?;
        command.aliases.iter().try_for_each(check_alias)?;
        let canonical = command.canonical_name();
        match self.canonical.get(&canonical) {
            Some((_, old)) if !old.flags.has(CommandFlags::BUILT_IN) => {
                return Err(RegisterError::Duplicate(canonical));
            }
            Some(_) => drop(self.unregister(&canonical)),
            None => {}
        }
        let command = Arc::new(command);
        self.canonical.insert(canonical, (self.next, command.clone()));
        self.in_order.insert(self.next, command.clone());
        self.next += 1;
        self.bare.entry(command.name.clone()).or_default().push(command.clone());
        for alias in &command.aliases {
            self.aliases.entry(alias.clone()).or_default().push(command.clone());
        }
        Ok(command)
    }

    /// Removes a command by its canonical name. Calls in progress are not affected.
    pub fn unregister(&mut self, canonical: &[u8]) -> Option<Arc<Command>> {
        let (place, command) = self.canonical.remove(canonical)?;
        self.in_order.remove(&place);
        remove_from(&mut self.bare, &command.name, &command);
        for alias in &command.aliases {
            remove_from(&mut self.aliases, alias, &command);
        }
        Some(command)
    }

    /// Finds a command by a bare name that only one module has, by `module:name`, or by an alias. A command of the user
    /// overrides a built-in one.
    pub fn lookup(&self, name: &[u8]) -> Result<Arc<Command>, Failure> {
        // A bare name has no colon and a canonical name has one, so the most frequent form is tried first.
        let candidates = match self.bare.get(name) {
            Some(candidates) => candidates,
            None => match self.canonical.get(name) {
                Some((_, command)) => return Ok(command.clone()),
                None => self.aliases.get(name).ok_or(Failure::UnknownCommand)?,
            },
        };
        if let [command] = candidates.as_slice() {
            return Ok(command.clone());
        }
        let mut own = candidates.iter().filter(|command| !command.flags.has(CommandFlags::BUILT_IN));
        match (own.next(), own.next()) {
            (Some(command), None) => Ok(command.clone()),
            _ => Err(Failure::Ambiguous(candidates.iter().map(|command| command.canonical_name()).collect())),
        }
    }

    /// All commands, in the order of registration.
    pub fn commands(&self) -> impl Iterator<Item = &Arc<Command>> {
        self.in_order.values()
    }

    /// The shortest unambiguous name of this command.
    pub fn display_name(&self, command: &Arc<Command>) -> Str {
        match self.lookup(&command.name) {
            Ok(found) if Arc::ptr_eq(&found, command) => command.name.clone(),
            _ => command.canonical_name(),
        }
    }

    /// The number of commands.
    pub fn len(&self) -> usize {
        self.in_order.len()
    }

    /// Returns true if there are no commands.
    pub fn is_empty(&self) -> bool {
        self.in_order.is_empty()
    }
}

fn remove_from(index: &mut HashMap<Str, Vec<Arc<Command>>>, name: &Str, command: &Arc<Command>) {
    if let Some(commands) = index.get_mut(name) {
        commands.retain(|other| !Arc::ptr_eq(other, command));
        if commands.is_empty() {
            index.remove(name);
        }
    }
}

fn check_name(what: &'static str, name: &Str) -> Result<(), RegisterError> {
    let bad = |byte: &u8| byte.is_ascii_whitespace() || byte.is_ascii_control() || matches!(byte, b':' | b'"');
    if name.is_empty() || name.iter().any(bad) {
        return Err(RegisterError::BadName { what, name: name.clone() });
    }
    Ok(())
}

/// Checks an alias, which may look like a canonical name: `cache:store`.
fn check_alias(alias: &Str) -> Result<(), RegisterError> {
    let bad = || RegisterError::BadName { what: "alias", name: alias.clone() };
    let (first, second) = match alias.iter().position(|byte| *byte == b':') {
        Some(colon) => (&alias[..colon], Some(&alias[colon + 1..])),
        None => (&**alias, None),
    };
    for part in std::iter::once(first).chain(second) {
        check_name("alias", &part.into()).map_err(|_| bad())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Answer, Call, Conduct, Handler, Recipe};
    use super::*;
    use crate::response::Response;

    struct Nothing;
    impl Handler for Nothing {
        fn run(&self, _: Call<'_>) -> Answer {
            Response::ok().into()
        }

        fn as_any(&self) -> &dyn std::any::Any {
            self
        }
    }

    fn command(module: &str, name: &str, aliases: &[&str], flags: CommandFlags) -> Command {
        Command {
            module: module.into(),
            name: name.into(),
            help: Str::default(),
            flags,
            recipe: Recipe::Tree,
            aliases: aliases.iter().map(|alias| (*alias).into()).collect(),
            handler: Box::new(Nothing),
            conduct: Conduct::default(),
        }
    }

    fn registry(commands: Vec<Command>) -> Registry {
        let mut registry = Registry::default();
        for command in commands {
            registry.register(command).expect("a good command");
        }
        registry
    }

    fn found(registry: &Registry, name: &str) -> Result<String, Failure> {
        registry.lookup(name.as_bytes()).map(|command| command.canonical_name().to_string())
    }

    #[test]
    fn a_name_is_found_bare_canonical_and_by_alias() {
        let registry = registry(vec![command("cache", "store", &["cache_store"], CommandFlags::NONE)]);
        for name in ["store", "cache:store", "cache_store"] {
            assert_eq!(found(&registry, name), Ok("cache:store".into()));
        }
        assert_eq!(found(&registry, "core:store"), Err(Failure::UnknownCommand));
    }

    #[test]
    fn a_bare_name_of_two_modules_is_ambiguous_and_says_which() {
        let registry = registry(vec![
            command("tcp", "list", &[], CommandFlags::NONE),
            command("dialog", "list", &["dlg_list"], CommandFlags::NONE),
        ]);
        let expected = Failure::Ambiguous(vec!["tcp:list".into(), "dialog:list".into()]);
        assert_eq!(found(&registry, "list"), Err(expected));
        assert_eq!(found(&registry, "dlg_list"), Ok("dialog:list".into()));
    }

    #[test]
    fn a_command_of_the_user_goes_before_one_that_comes_with_every_server() {
        let registry = registry(vec![
            command("core", "version", &[], CommandFlags::BUILT_IN),
            command("billing", "version", &[], CommandFlags::NONE),
        ]);
        assert_eq!(found(&registry, "version"), Ok("billing:version".into()));
        assert_eq!(found(&registry, "core:version"), Ok("core:version".into()));
    }

    #[test]
    fn a_duplicate_is_refused_and_a_removed_command_is_gone() {
        let mut registry = registry(vec![command("m", "c", &["x"], CommandFlags::NONE)]);
        let again = registry.register(command("m", "c", &[], CommandFlags::NONE));
        assert_eq!(again.unwrap_err(), RegisterError::Duplicate("m:c".into()));
        assert!(registry.unregister(b"m:c").is_some());
        for name in ["c", "m:c", "x"] {
            assert_eq!(found(&registry, name), Err(Failure::UnknownCommand));
        }
        assert!(registry.is_empty());
    }

    #[test]
    fn names_that_no_wire_can_carry_are_refused() {
        for bad in ["", "a b", "a:b", "a\nb", "a\"b", "a\0b"] {
            let mut registry = Registry::default();
            assert!(registry.register(command("m", bad, &[], CommandFlags::NONE)).is_err(), "{bad:?}");
        }
    }
}
