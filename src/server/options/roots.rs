//! The routes of HTTP: the path of a request selects the form of the request and of its reply.

use crate::dialect::Dialect;

/// The paths at which a listener answers; `None` where it does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// JSON-RPC (`mi_http`, 3.x and 4.x).
    pub mi: Option<String>,
    /// `mi_json` (1.11 and 2.x).
    pub json: Option<String>,
    /// XML-RPC in the form that the listener was given (`mi_xmlrpc`, `mi_xmlrpc_ng`).
    pub rpc: Option<String>,
    /// XML-RPC with one string (1.11's `mi_xmlrpc_ng`).
    pub xmlrpc: Option<String>,
    /// Pages (`mi_http` of 1.x and 2.x, `mi_html`).
    pub html: Option<String>,
}

impl Roots {
    /// The roots that a version has.
    pub fn of(dialect: Dialect) -> Self {
        let root = |path: &str| Some(path.to_owned());
        let all = Roots {
            mi: root("/mi"),
            json: root("/json"),
            rpc: root("/RPC2"),
            xmlrpc: root("/xmlrpc"),
            html: root("/html"),
        };
        match dialect {
            Dialect::Sipmi => all,
            Dialect::V1_8 => Roots { mi: None, json: None, xmlrpc: None, html: root("/mi"), ..all },
            Dialect::V1_11 => Roots { mi: None, html: root("/mi"), ..all },
            Dialect::V2_4 => Roots { mi: None, html: root("/mi"), xmlrpc: None, ..all },
            _ => Roots { json: None, xmlrpc: None, ..all },
        }
    }

    /// The route at a path.
    pub(crate) fn find<'p>(&self, path: &'p str) -> Option<Route<'p>> {
        let below = |root: &Option<String>| below(path, root.as_deref()?);
        if below(&self.mi).is_some() {
            Some(Route::Mi)
        } else if let Some(command) = below(&self.json) {
            Some(Route::Json(command))
        } else if below(&self.rpc).is_some_and(str::is_empty) {
            Some(Route::Rpc)
        } else if below(&self.xmlrpc).is_some_and(str::is_empty) {
            Some(Route::Xmlrpc)
        } else {
            below(&self.html).map(Route::Html)
        }
    }

    /// Every path that is mounted, for who asks for another.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        [&self.mi, &self.json, &self.rpc, &self.xmlrpc, &self.html].into_iter().filter_map(|root| root.as_deref())
    }
}

/// The route at a path, with the rest of the path where the route uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route<'p> {
    Mi,
    Json(&'p str),
    Rpc,
    Xmlrpc,
    Html(&'p str),
}

/// The path below a root, without the slash between them.
fn below<'p>(path: &'p str, root: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(root.trim_end_matches('/'))?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_belongs_to_the_root_that_it_begins_with() {
        let roots = Roots::of(Dialect::Sipmi);
        assert_eq!(roots.find("/mi"), Some(Route::Mi));
        assert_eq!(roots.find("/mi/"), Some(Route::Mi));
        assert_eq!(roots.find("/json/get_statistics"), Some(Route::Json("get_statistics")));
        assert_eq!(roots.find("/RPC2"), Some(Route::Rpc));
        assert_eq!(roots.find("/html/core/version"), Some(Route::Html("core/version")));
        for elsewhere in ["/", "", "/min", "//mi", "/MI", "/RPC2/x"] {
            assert_eq!(roots.find(elsewhere), None, "{elsewhere}");
        }
    }

    #[test]
    fn a_version_has_its_own_roots() {
        assert_eq!(Roots::of(Dialect::V2_4).find("/mi/core"), Some(Route::Html("core")));
        assert_eq!(Roots::of(Dialect::V2_4).find("/xmlrpc"), None);
        assert_eq!(Roots::of(Dialect::V4_0).find("/json/which"), None);
    }
}
