//! The pages as a version has them: on each the menu of modules, below it the commands of one, a form, or a reply.
//!
//! Programs read their links, their one field and their texts, so these are as the original has them. The markup is ours.

use super::{Frame, Page, Style, answer_in_json, answer_in_words};
use crate::codec::{json, push_int};
use crate::convert::TooDeep;
use crate::dialect::Dialect;
use crate::item::{Item, Str};
use crate::response::{Failure, Response};

/// The menu that all pages of a version have.
#[derive(Clone, Debug)]
pub struct Menu {
    /// Where the pages are, and who answers.
    pub frame: Frame,
    /// The modules, in the order of registration.
    pub modules: Vec<Str>,
    /// The version.
    pub dialect: Dialect,
}

/// A command and all commands of its module, by the names that their paths have.
#[derive(Clone, Copy, Debug)]
pub struct Chosen<'a> {
    /// The module.
    pub module: &'a Str,
    /// Its commands.
    pub commands: &'a [Str],
}

impl Menu {
    /// The page at the root: the menu alone.
    pub fn modules_page(&self) -> Vec<u8> {
        self.end(self.begin(None))
    }

    /// The page of a module: a link to each of its commands.
    pub fn module_page(&self, chosen: Chosen<'_>) -> Vec<u8> {
        let mut page = self.begin(Some(chosen.module));
        page.push(b"<table>\n");
        for name in chosen.commands {
            page.push(b"<tr><td>");
            page.link(&self.frame, &[chosen.module, name], name);
            page.push(b"</td></tr>\n");
        }
        page.push(b"</table>\n");
        self.end(page)
    }

    /// The page of a command: its form, beside the list of its module.
    pub fn form_page(&self, chosen: Chosen<'_>, command: &Str) -> Vec<u8> {
        let mut page = self.begin(Some(chosen.module));
        page.push(b"<table>\n");
        for (row, name) in chosen.commands.iter().enumerate() {
            page.push(b"<tr><td>");
            page.link(&self.frame, &[chosen.module, name], name);
            page.push(b"</td>");
            // The chosen command is named in the first row; the second asks for its parameters.
            if row == 0 {
                page.push(b"<td><b>");
                page.text(command);
                page.push(b"</b></td>");
            }
            if row == 1 || chosen.commands.len() == 1 {
                page.push(
                    b"<td rowspan=\"5\"><form method=\"GET\"><input type=\"text\" name=\"arg\" aria-label=\"arg\"/>",
                );
                page.push(b"<input type=\"submit\" value=\"Submit\"/></form></td>");
            }
            page.push(b"</tr>\n");
        }
        page.push(b"</table>\n");
        self.end(page)
    }

    /// The page of a reply, beside a link to its command.
    pub fn reply_page(
        &self,
        module: &Str,
        command: &Str,
        result: &Result<Response, Failure>,
    ) -> Result<Vec<u8>, TooDeep> {
        let mut page = self.begin(Some(module));
        page.push(b"<table>\n<tr><td>");
        page.link(&self.frame, &[module, command], command);
        page.push(b"</td>");
        match Style::of(self.dialect, b"") {
            Style::Words => {
                let response = answer_in_words(result, command);
                page.push(b"<td>");
                push_int(&mut page.0, i64::from(response.code));
                page.push(b" : ");
                page.text(&response.reason);
                page.push(b"</td></tr>\n<tr><td>&nbsp;</td><td>");
                page.lines(&response, self.dialect)?;
            }
            Style::Json => {
                page.push(b"<td align=\"left\">");
                page.pretty(&answer_in_json(result, self.dialect)?);
            }
        }
        page.push(b"</td></tr>\n</table>\n");
        Ok(self.end(page))
    }

    fn begin(&self, chosen: Option<&Str>) -> Page {
        let words = Style::of(self.dialect, b"") == Style::Words;
        let mut page = Page(Vec::with_capacity(4096));
        page.push(b"<html lang=\"en\"><head><meta charset=\"utf-8\"><title>OpenSIPS Management Interface</title></head>\n<body>\n");
        page.push(if words {
            b"<h2>OpenSIPS MI HTTP Interface</h2>\n<p>"
        } else {
            b"<h2>OpenSIPS MI HTML Interface</h2>\n<p>"
        });
        page.text(self.frame.server.as_bytes());
        page.push(b" is running since <i>");
        page.text(self.frame.since.as_bytes());
        page.push(b"</i></p>\n<table><tr>\n");
        for module in &self.modules {
            let (open, close): (&[u8], &[u8]) =
                if chosen == Some(module) { (b"<td><b>", b"</b></td>\n") } else { (b"<td>", b"</td>\n") };
            page.push(open);
            page.link(&self.frame, &[module], module);
            page.push(close);
        }
        page.push(b"</tr></table>\n");
        page
    }

    /// Where the original leads to who wrote it, so do we.
    fn end(&self, mut page: Page) -> Vec<u8> {
        let secure = Style::of(self.dialect, b"") == Style::Json;
        page.push(if secure { b"<footer><a href=\"https:" } else { b"<footer><a href=\"http:" });
        page.push(b"//opensips.org\">OpenSIPS web site</a>, whose pages <a href=\"http://www.voipembedded.com/\">");
        page.push(b"VoIP Embedded, Inc.</a> made</footer>\n</body></html>\n");
        page.0
    }
}

impl Page {
    /// JSON spread over lines, as 3.x and 4.x show it in a cell.
    fn pretty(&mut self, answer: &Item) {
        let mut written = Vec::new();
        json::write_pretty(&mut written, answer);
        let mut shown = Page(Vec::with_capacity(written.len() * 2));
        shown.text(&written);
        for byte in shown.0 {
            match byte {
                b'\n' => self.push(b"<br>\n"),
                b'\t' => self.push(b"&emsp;"),
                _ => self.0.push(byte),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn menu(dialect: Dialect) -> Menu {
        let frame = Frame {
            root: "/mi".into(),
            stylesheet: String::new(),
            server: "OpenSIPS".into(),
            since: "today".into(),
            takes_both: false,
        };
        Menu { frame, modules: vec!["core".into(), "tm".into()], dialect }
    }

    fn text(page: Vec<u8>) -> String {
        String::from_utf8(page).expect("pages are UTF-8")
    }

    #[test]
    fn every_page_leads_to_all_modules_and_that_of_a_reply_to_its_command() {
        let menu = menu(Dialect::V2_4);
        let names: [Str; 2] = ["ps".into(), "pwd".into()];
        let chosen = Chosen { module: &"core".into(), commands: &names };
        let reply = menu.reply_page(&"core".into(), &"ps".into(), &Ok(Response::ok())).expect("shallow");
        let pages = [menu.modules_page(), menu.module_page(chosen), menu.form_page(chosen, &"pwd".into()), reply];
        let links = |page: &String, path: &str| page.matches(&format!("href=\"/mi/{path}\"")).count();
        let found = pages.map(text).map(|page| {
            assert_eq!((links(&page, "core"), links(&page, "tm")), (1, 1), "{page}");
            (links(&page, "core/ps"), links(&page, "core/pwd"), page.matches("name=\"arg\"").count())
        });
        assert_eq!(found, [(0, 0, 0), (1, 1, 0), (1, 1, 1), (1, 0, 0)]);
    }

    #[test]
    fn a_module_of_one_command_has_a_form_too() {
        let page = menu(Dialect::V4_0)
            .form_page(Chosen { module: &"tm".into(), commands: &["hash".into()] }, &"hash".into());
        assert_eq!(text(page).matches("name=\"arg\"").count(), 1);
    }

    #[test]
    fn old_versions_show_code_and_lines_new_ones_the_json() {
        let result = || Ok(Item::from([("a", Item::from("<b>\n"))]).into());
        let shown =
            |dialect| text(menu(dialect).reply_page(&"core".into(), &"x".into(), &result()).expect("shallow"));
        assert!(shown(Dialect::V1_11).contains("<td>200 : OK</td></tr>\n"));
        assert!(shown(Dialect::V1_11).contains("<pre>a:: &lt;b&gt;\n<br/></pre>"));
        assert!(
            shown(Dialect::V3_4)
                .contains("<td align=\"left\">{<br>\n&emsp;&quot;a&quot;:&emsp;&quot;&lt;b&gt;\\n&quot;<br>\n}</td>")
        );
    }
}
