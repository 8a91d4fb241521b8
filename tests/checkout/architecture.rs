//! Holds who may use whom (the crate's documentation says it), and that no right of the chart is a wildcard.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Who may use whom of the operator's own modules. What its crates may use is in their Cargo.toml, and Cargo holds it.
const MAY_USE: &[(&str, &[&str])] = &[
    ("resources", &[]),
    ("config", &[]),
    ("telemetry", &[]),
    ("adapters", &["resources", "telemetry"]),
    ("controllers", &["resources", "config", "telemetry", "adapters"]),
];

/// Modules that put everything together: they use all, and nothing but they uses them.
const PUT_TOGETHER: &[&str] = &["lib", "main", "cli", "operator", "responder", "mover_process"];

/// What a layer must not name, wherever in a file: crates and types that belong to a layer below.
const MUST_NOT_NAME: &[(&str, &[&str])] = &[
    ("domain", &["tracing", "async ", "Timestamp::now", "Zoned::now"]),
    ("api", &["kube::Client", "kube::Api"]),
    ("resources", &["aws_", "tokio", "kube::Client", "kube::Api"]),
    ("adapters", &["message.contains("]),
    (
        "controllers",
        &[
            "aws_sdk",
            "kube::Api",
            "kube::api::Api",
            "Api::all",
            "Api::namespaced",
            // Every way to the cluster is a field of the context.
            "Client",
            "adapters::s3",
            // The API server's reason, causes and code decide, never its English.
            "message.contains(",
        ],
    ),
];

/// Crates that a crate of ours must not depend on, whatever for: without them it is what its name says.
const MUST_NOT_NEED: &[(&str, &[&str])] = &[
    (
        "domain",
        &["kube", "k8s-openapi", "aws-", "tokio", "async-trait", "tray-"],
    ),
    ("api", &["aws-", "tokio", "tray-ledger", "tray-mover"]),
    (
        "ledger",
        &[
            "kube",
            "k8s-openapi",
            "aws-",
            "tray-api",
            "tray-mover",
            "tray-engine",
        ],
    ),
    (
        "ports",
        &["kube", "k8s-openapi", "aws-", "tray-api", "tray-mover"],
    ),
    ("mover", &["kube", "k8s-openapi", "aws-", "tray-api"]),
];

struct Source {
    path: PathBuf,
    /// The crate of ours, or the operator's own module.
    layer: String,
    text: String,
}

impl Source {
    /// Lines of code with their numbers, without comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .map(|(number, line)| (number + 1, line))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The files of the operator and of its crates, cut at their unit tests, which may use what they like. Files that hold only
/// tests are left out.
fn sources() -> Vec<Source> {
    let (src, crates) = (root().join("src"), root().join("crates"));
    files(&src, "rs")
        .into_iter()
        .chain(files(&crates, "rs"))
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            let in_tests = path.components().any(|part| part.as_os_str() == "tests");
            !in_tests && name != "tests.rs" && name != "fixtures.rs"
        })
        .map(|path| {
            let inside = path.strip_prefix(&src).or(path.strip_prefix(&crates)).unwrap();
            let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
            let layer = first.trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).unwrap();
            let text = match text.find("#[cfg(test)]\nmod tests {") {
                Some(tests) => text[..tests].to_owned(),
                None => text,
            };
            Source { path, layer, text }
        })
        .collect()
}

/// The top-level modules that a text names as `crate::x` or in `use crate::{x::…, y::…}`.
fn named(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        // `tray_crate::` is another word.
        if text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &text[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0_i32;
            let mut word = String::new();
            let mut at_start = true;
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => at_start = true,
                    c if depth == 0 && at_start && (c.is_alphanumeric() || c == '_') => word.push(c),
                    _ if depth == 0 && at_start && !word.is_empty() => {
                        found.push(std::mem::take(&mut word));
                        at_start = false;
                    }
                    _ => {}
                }
            }
            found.extend((!word.is_empty()).then_some(word));
        } else {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
            found.push(rest[..end.unwrap_or(rest.len())].to_owned());
        }
    }
    found
}

/// Every path that a text's `use` statements bring in, as its parts.
fn imported(text: &str) -> Vec<Vec<String>> {
    let statements = text.split(';').filter_map(|statement| {
        let (before, tree) = statement.rsplit_once("use ")?;
        before
            .ends_with(|c: char| c.is_whitespace())
            .then_some(tree)
            .or_else(|| before.is_empty().then_some(tree))
    });
    statements.flat_map(|tree| expanded(tree, &[])).collect()
}

fn expanded(tree: &str, prefix: &[String]) -> Vec<Vec<String>> {
    let tree = tree.trim();
    if let Some(group) = tree.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        let (mut depth, mut parts) = (0_i32, vec![String::new()]);
        for c in group.chars() {
            depth += i32::from(c == '{') - i32::from(c == '}');
            if c == ',' && depth == 0 {
                parts.push(String::new());
            } else {
                parts.last_mut().unwrap().push(c);
            }
        }
        let parts = parts.iter().filter(|part| !part.trim().is_empty());
        return parts.flat_map(|part| expanded(part, prefix)).collect();
    }
    let (first, rest) = tree.split_once("::").unwrap_or((tree, ""));
    let path = [prefix, &[first.trim().to_owned()]].concat();
    if rest.is_empty() {
        vec![path]
    } else {
        expanded(rest, &path)
    }
}

/// The same from the crate's root: `super` is what it stands for in the file at `inside`.
fn from_the_root(path: Vec<String>, inside: &Path) -> Vec<String> {
    let mut module: Vec<String> = inside
        .with_extension("")
        .components()
        .map(|part| part.as_os_str().to_str().unwrap().to_owned())
        .collect();
    module.retain(|part| part != "mod");
    let ups = path.iter().take_while(|part| *part == "super").count();
    match path.first().map(String::as_str) {
        Some("crate") => path[1..].to_vec(),
        Some("super") => [&module[..module.len() - ups], &path[ups..]].concat(),
        Some("self") => [&module[..], &path[1..]].concat(),
        _ => path,
    }
}

fn code(source: &Source) -> String {
    source
        .code()
        .fold(String::new(), |all, (_, line)| all + line + "\n")
}

#[test]
fn names_are_found_in_every_form_of_use() {
    assert_eq!(named("use crate::config::A;"), ["config"]);
    assert_eq!(
        named("use crate::{\n    adapters::{a, b},\n    resources::child,\n    config,\n};"),
        ["adapters", "resources", "config"]
    );
    assert_eq!(named("let x = crate::config::f();"), ["config"]);
}

#[test]
fn layers_use_only_what_lies_below_them() {
    let rules: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    let mut broken = Vec::new();
    for source in sources() {
        let Some(may) = rules.get(source.layer.as_str()) else {
            continue;
        };
        for used in named(&code(&source)) {
            let known = rules.contains_key(used.as_str()) || PUT_TOGETHER.contains(&used.as_str());
            if known && used != source.layer && !may.contains(&used.as_str()) {
                broken.push(format!("{} uses {used}", source.path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_module_has_a_rule() {
    let rules: Vec<_> = MAY_USE.iter().map(|(layer, _)| *layer).collect();
    for source in sources()
        .iter()
        .filter(|source| source.path.starts_with(root().join("src")))
    {
        let put_together = PUT_TOGETHER.contains(&source.layer.as_str());
        assert!(
            put_together || rules.contains(&source.layer.as_str()),
            "{} is of no layer",
            source.path.display()
        );
    }
}

#[test]
fn no_layer_names_what_belongs_to_another() {
    let rules: BTreeMap<_, _> = MUST_NOT_NAME.iter().copied().collect();
    let mut broken = Vec::new();
    for source in sources() {
        for (number, line) in source.code() {
            for word in rules.get(source.layer.as_str()).copied().unwrap_or_default() {
                if line.contains(word) {
                    broken.push(format!("{}:{number} names {word:?}", source.path.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn paths_are_found_in_nested_uses() {
    let path = |text: &str| text.split("::").map(str::to_owned).collect::<Vec<_>>();
    let found = imported("use a::{b::{c, d as e}, f};\npub(crate) use super::x;\n");
    assert_eq!(
        found,
        [
            path("a::b::c"),
            path("a::b::d as e"),
            path("a::f"),
            path("super::x")
        ]
    );
    let inside = Path::new("controllers/org/mod.rs");
    assert_eq!(from_the_root(path("super::x"), inside), path("controllers::x"));
    assert_eq!(from_the_root(path("crate::x"), inside), ["x"]);
}

/// A file's path below `src`, and which module of `controllers` it is of.
fn of_controllers(source: &Source) -> (&Path, String) {
    let inside = source.path.strip_prefix(root().join("src")).unwrap();
    let module = inside.components().nth(1).unwrap().as_os_str().to_str().unwrap();
    (inside, module.trim_end_matches(".rs").to_owned())
}

/// What two controllers have to know stands in `controllers/view` or on the board.
#[test]
fn no_controller_imports_another() {
    let mut sources = sources();
    sources.retain(|source| source.layer == "controllers");
    let with_driver = sources
        .iter()
        .filter(|source| code(source).contains(" Driver for "));
    let controllers: BTreeSet<String> = with_driver.map(|source| of_controllers(source).1).collect();
    assert!(controllers.len() > 5, "only {controllers:?} have a driver");
    let mut broken = Vec::new();
    for source in &sources {
        let (inside, own) = of_controllers(source);
        for path in imported(&code(source)) {
            let path = from_the_root(path, inside);
            let of = path.get(1).filter(|_| path[0] == "controllers");
            if of.is_some_and(|of| *of != own && controllers.contains(of)) {
                broken.push(format!("{} imports {}", inside.display(), path.join("::")));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn no_crate_needs_what_it_is_to_be_without() {
    let mut broken = Vec::new();
    for (name, forbidden) in MUST_NOT_NEED {
        let path = root().join("crates").join(name).join("Cargo.toml");
        let manifest = fs::read_to_string(&path).unwrap();
        let (_, needs) = manifest.split_once("[dependencies]").unwrap();
        let needs = needs.split_once("\n[").map_or(needs, |(needs, _)| needs);
        for need in needs.lines() {
            for word in forbidden.iter().filter(|word| need.starts_with(**word)) {
                broken.push(format!("{}: {need:?} ({word})", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn controllers_use_the_kubernetes_adapters_alone() {
    let mut broken = Vec::new();
    for source in sources().iter().filter(|source| source.layer == "controllers") {
        let code = code(source);
        for (at, _) in code.match_indices("adapters::") {
            let rest = &code[at + "adapters::".len()..];
            if !rest.starts_with("kube") {
                broken.push(format!(
                    "{}: {}",
                    source.path.display(),
                    rest.lines().next().unwrap_or_default()
                ));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_clock_and_the_environment_are_closed_to_all_but_two_files() {
    let lints = fs::read_to_string(root().join("clippy.toml")).unwrap();
    for method in [
        "jiff::Timestamp::now",
        "jiff::Zoned::now",
        "std::time::SystemTime::now",
        "std::env::var",
        "std::env::var_os",
    ] {
        assert!(
            lints.contains(&format!("\"{method}\"")),
            "clippy.toml lets {method} in"
        );
    }
    for source in sources() {
        let path = source
            .path
            .strip_prefix(root())
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        for (number, line) in source.code() {
            let clock = line.contains("Timestamp::now") || line.contains("SystemTime::now");
            assert!(
                !clock || path == "src/adapters/clock.rs",
                "{path}:{number} reads the clock"
            );
            let environment = line.contains("env::var") || line.contains("env = \"");
            assert!(
                !environment || path == "src/config.rs",
                "{path}:{number} reads the environment"
            );
        }
    }
}

/// Names of functions and in texts that begin with a promise's number.
fn promised(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        let digits = word.strip_prefix('p').and_then(|rest| rest.split_once('_'));
        if digits.is_some_and(|(number, rest)| number.parse::<u32>().is_ok() && !rest.is_empty()) {
            found.insert(word.to_owned());
        }
    }
    found
}

#[test]
fn the_page_of_promises_names_the_tests_that_there_are() {
    let page = promised(&fs::read_to_string(root().join("docs/promises.md")).unwrap());
    let mut tests = BTreeSet::new();
    for folder in [
        "src",
        "crates",
        "engine/src",
        "engine/tests",
        "tests",
        "e2e/tests",
        "e2e/src",
    ] {
        for path in files(&root().join(folder), "rs") {
            let text = fs::read_to_string(&path).unwrap();
            for (at, _) in text.match_indices("fn p") {
                tests.extend(promised(text[at + 3..].split('(').next().unwrap()));
            }
        }
    }
    let (missing, gone): (Vec<_>, Vec<_>) = (
        tests.difference(&page).collect(),
        page.difference(&tests).collect(),
    );
    assert!(
        missing.is_empty() && gone.is_empty(),
        "not named: {missing:#?}\nno such test: {gone:#?}"
    );
}

#[test]
fn no_right_of_the_chart_is_a_wildcard() {
    let templates = root().join("charts/tray-operator/templates");
    let mut rules = 0;
    for path in files(&templates, "yaml") {
        let text = fs::read_to_string(&path).unwrap();
        if !text.contains("kind: ClusterRole\n") && !text.contains("kind: Role\n") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_start_matches([' ', '-']);
            if line.starts_with("verbs:") {
                rules += 1;
            }
            let right = [
                "apiGroups",
                "resources",
                "resourceNames",
                "verbs",
                "nonResourceURLs",
            ]
            .iter()
            .any(|field| line.starts_with(&format!("{field}:")));
            let item = line.trim_matches(['"', '\'']) == "*";
            assert!(
                !(item || right && line.contains('*')),
                "{}:{} grants a wildcard: name what is needed",
                path.display(),
                number + 1
            );
        }
    }
    assert!(
        rules > 10,
        "only {rules} rules were found: is the chart elsewhere?"
    );
}

#[test]
fn the_chart_sets_what_the_operator_reads() {
    let chart = fs::read_to_string(root().join("charts/tray-operator/templates/deployment.yaml")).unwrap();
    let config = fs::read_to_string(root().join("src/config.rs")).unwrap();
    let words = |text: &str| -> Vec<String> {
        let split = text.split(|c: char| !(c.is_ascii_uppercase() || c == '_'));
        let ours = split.filter(|word| word.starts_with("TRAY_") || *word == "POD_NAME");
        ours.map(str::to_owned).collect()
    };
    let read: Vec<String> = config
        .lines()
        .filter(|line| line.contains("env = \""))
        .flat_map(&words)
        .collect();
    for set in words(&chart) {
        assert!(read.contains(&set), "the chart sets {set}, which nothing reads");
    }
    assert!(read.len() > 5, "{read:?}");
}
