//! No two files of a crate import each other in a circle.
//!
//! An edge leads from a file to the file that defines the item it names; a re-export leads to the
//! definition and is not an edge of the file that re-exports. A `mod.rs` that declares its children
//! has no edge to them.

use crate::nothing_to_complain_about;
use crate::source::{self, Source};
use std::collections::{BTreeMap, BTreeSet};

type ModulePath = Vec<String>;

/// A file of a crate: where it stands, what it defines, what it re-exports.
struct CrateFile<'s> {
    source: &'s Source,
    defines: BTreeSet<&'s str>,
    /// Name to path, as written.
    exports: BTreeMap<String, ModulePath>,
    /// Imports for its own use, as written.
    imports: Vec<ModulePath>,
}

/// The files of one crate by their modules.
struct CrateFiles<'s>(BTreeMap<ModulePath, CrateFile<'s>>);

/// Returns the crate's folder and the path of the module that a file is.
fn module_of(path: &str) -> Option<(&str, ModulePath)> {
    let at = path.find("src/")? + "src/".len();
    let inside = path[at..].strip_suffix(".rs")?;
    let inside = inside.strip_suffix("/mod").unwrap_or(inside);
    let module = if inside == "lib" { "" } else { inside };
    Some((
        &path[..at],
        module.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect(),
    ))
}

/// Returns the paths of the tree of a `use`, without its keyword and semicolon.
fn expand(tree: &str) -> Vec<ModulePath> {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let path = tree.split(" as ").next().unwrap_or(tree);
        return vec![path.split("::").map(|part| part.trim().to_owned()).collect()];
    };
    let inner = &tree[open + 1..tree.rfind('}').unwrap_or(tree.len())];
    let (mut parts, mut depth, mut from) = (Vec::new(), 0usize, 0);
    for (at, byte) in inner.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(&inner[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inner[from..]);
    let written = parts.into_iter().filter(|part| !part.trim().is_empty());
    written.flat_map(|part| expand(&format!("{}{}", &tree[..open], part.trim()))).collect()
}

/// Returns where each `use` begins and where its semicolon stands.
fn declarations(source: &Source) -> Vec<(usize, usize)> {
    let words = source.words().into_iter().filter(|(_, word)| *word == "use");
    // `use<'a>` names what a type captures.
    let items = words.filter(|(at, _)| {
        source.next_visible(at + "use".len()).is_some_and(|(_, byte)| byte != b'<')
    });
    let end = |at: usize| source.code[at..].find(';').map_or(source.code.len(), |n| at + n);
    items.map(|(at, _)| (at, end(at))).collect()
}

impl<'s> CrateFile<'s> {
    fn read(source: &'s Source) -> Self {
        let words = source.words();
        let (mut imports, mut exports) = (Vec::new(), BTreeMap::new());
        for (at, end) in declarations(source) {
            let paths = expand(&source.code[at + "use".len()..end]);
            let before = source.code[..at].trim_end();
            let is_export = before.ends_with("pub")
                || before.ends_with(')') && {
                    let open = before.rfind('(').unwrap_or(0);
                    before[..open].trim_end().ends_with("pub")
                };
            for path in paths {
                match path.last() {
                    Some(name) if is_export => drop(exports.insert(name.clone(), path)),
                    _ => imports.push(path),
                }
            }
        }
        let kinds = ["struct", "enum", "trait", "fn", "type", "const", "static", "union"];
        let defined = words.windows(2).filter(|pair| kinds.contains(&pair[0].1));
        let defines = defined.map(|pair| pair[1].1).collect();
        Self { source, defines, exports, imports }
    }

    /// Returns the paths in the code outside of `use`, each with its position.
    fn paths(&self) -> Vec<(usize, ModulePath)> {
        let (code, words) = (&self.source.code, self.source.words());
        let uses = declarations(self.source);
        let mut paths: Vec<(usize, usize, ModulePath)> = Vec::new();
        for (at, word) in words {
            if uses.iter().any(|(from, to)| (*from..*to).contains(&at)) {
                continue;
            }
            match paths.last_mut() {
                Some((_, end, path)) if code[*end..at].trim() == "::" => {
                    path.push(word.to_owned());
                    *end = at + word.len();
                }
                _ => paths.push((at, at + word.len(), vec![word.to_owned()])),
            }
        }
        let long = paths.into_iter().filter(|(_, _, path)| path.len() > 1);
        long.map(|(at, _, path)| (at, path)).collect()
    }
}

impl<'s> CrateFiles<'s> {
    /// Returns the module that defines what `path`, written in `module`, names; `None` for what is of
    /// another crate, and for a module itself.
    fn resolve(&self, module: &ModulePath, path: &[String], depth: usize) -> Option<ModulePath> {
        let mut rest = path;
        let mut base = match rest.first()?.as_str() {
            "crate" => Vec::new(),
            "self" | "super" => module.clone(),
            child => {
                let inside = [module.as_slice(), &[child.to_owned()]].concat();
                self.0.contains_key(&inside).then(|| module.clone())?
            }
        };
        if matches!(rest[0].as_str(), "crate" | "self") {
            rest = &rest[1..];
        }
        while rest.first().is_some_and(|part| part == "super") {
            base.pop()?;
            rest = &rest[1..];
        }
        while let [part, more @ ..] = rest {
            let inside = [base.as_slice(), std::slice::from_ref(part)].concat();
            if !self.0.contains_key(&inside) {
                break;
            }
            (base, rest) = (inside, more);
        }
        let file = self.0.get(&base)?;
        let name = rest.first().filter(|name| *name != "self")?;
        match file.exports.get(name) {
            Some(exported) if !file.defines.contains(name.as_str()) && depth < 8 => {
                let full = [exported.as_slice(), &rest[1..]].concat();
                self.resolve(&base, &full, depth + 1)
            }
            _ => Some(base),
        }
    }

    /// Returns the files that the file at `module` names, each with one such path.
    fn edges(&self, module: &ModulePath) -> BTreeMap<ModulePath, String> {
        let file = &self.0[module];
        let mut edges = BTreeMap::new();
        let mut modules = BTreeMap::new();
        let mut add = |path: &[String], into: Option<ModulePath>| {
            if let Some(into) = into.filter(|into| into != module) {
                edges.entry(into).or_insert_with(|| path.join("::"));
            }
        };
        for path in &file.imports {
            let into = self.resolve(module, path, 0);
            if into.is_none()
                && let Some(name) = path.last()
            {
                let is_self = name == "self";
                let whole = if is_self { &path[..path.len() - 1] } else { &path[..] };
                modules.extend(whole.last().map(|name| (name.clone(), whole.to_vec())));
            }
            add(path, into);
        }
        for (_, path) in file.paths() {
            let full = match modules.get(&path[0]) {
                Some(written) => [written.as_slice(), &path[1..]].concat(),
                None => path,
            };
            add(&full, self.resolve(module, &full, 0));
        }
        edges
    }
}

/// Returns the groups of modules that reach each other.
fn circles(
    edges: &BTreeMap<ModulePath, BTreeMap<ModulePath, String>>,
) -> Vec<BTreeSet<ModulePath>> {
    let reached = |from: &ModulePath| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(at) = open.pop() {
            let next = edges.get(at).into_iter().flat_map(BTreeMap::keys);
            open.extend(next.filter(|to| seen.insert((*to).clone())));
        }
        seen
    };
    let reach: BTreeMap<&ModulePath, BTreeSet<ModulePath>> =
        edges.keys().map(|from| (from, reached(from))).collect();
    let group = |one: &ModulePath| -> BTreeSet<ModulePath> {
        reach[one].iter().filter(|other| reach[*other].contains(one)).cloned().collect()
    };
    let groups: BTreeSet<BTreeSet<ModulePath>> = edges.keys().map(group).collect();
    groups.into_iter().filter(|group| group.len() > 1).collect()
}

/// Returns the circles of all crates among `sources`: one complaint for each group of files.
fn complaints(sources: &[Source]) -> Vec<String> {
    let mut crates: BTreeMap<&str, CrateFiles<'_>> = BTreeMap::new();
    for source in sources {
        if let Some((root, module)) = module_of(&source.path) {
            let files = crates.entry(root).or_insert_with(|| CrateFiles(BTreeMap::new()));
            files.0.insert(module, CrateFile::read(source));
        }
    }
    let mut complaints = Vec::new();
    for files in crates.values() {
        let edges: BTreeMap<ModulePath, BTreeMap<ModulePath, String>> =
            files.0.keys().map(|module| (module.clone(), files.edges(module))).collect();
        for group in circles(&edges) {
            let mut lines = Vec::new();
            for from in &group {
                for (to, path) in edges[from].iter().filter(|(to, _)| group.contains(*to)) {
                    let (from, to) = (&files.0[from], &files.0[to]);
                    lines.push(format!("{} -> {} ({path})", from.source.path, to.source.path));
                }
            }
            complaints.push(format!(
                "a circle of {} files:\n    {}",
                group.len(),
                lines.join("\n    ")
            ));
        }
    }
    complaints
}

#[test]
fn no_files_of_a_crate_import_each_other_in_a_circle() {
    nothing_to_complain_about("files import each other", &complaints(&source::production()));
}

#[test]
fn a_circle_is_found_whatever_it_goes_through() {
    let circle = |a: &str, b: &str| {
        let sources = [
            Source::new(
                "src/part/mod.rs",
                "pub mod a;\npub mod b;\npub use b::B;\npub struct Own;",
            ),
            Source::new("src/part/a.rs", a),
            Source::new("src/part/b.rs", b),
        ];
        complaints(&sources).len()
    };
    assert_eq!(circle("use super::b::B; struct A;", "use crate::part::{a::A}; pub struct B;"), 1);
    assert_eq!(circle("use super::{B}; struct A;", "fn f(_: super::a::A) {} pub struct B;"), 1);
    assert_eq!(circle("use super::b; struct A(b::B);", "use super::a::A; pub struct B;"), 1);
    assert_eq!(circle("use super::b::B; struct A;", "use super::Own; pub struct B;"), 0);
    assert_eq!(circle("#[cfg(test)] use super::b::B; struct A;", "use super::a::A; struct B;"), 0);
    let parent = [
        Source::new("src/part/mod.rs", "mod a; use a::A; pub struct Own;"),
        Source::new("src/part/a.rs", "use super::Own; pub struct A;"),
    ];
    assert_eq!(complaints(&parent).len(), 1);
}

#[test]
fn a_tree_of_imports_is_read() {
    let paths: Vec<String> =
        expand(" a::{self, b::{C, D as E}, f}").iter().map(|path| path.join("::")).collect();
    assert_eq!(paths, ["a::self", "a::b::C", "a::b::D", "a::f"]);
}
