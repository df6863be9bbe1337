//! The defaults, the file and the environment laid over each other.
//!
//! The built-in defaults name every key and show its kind, so they are what the other layers are held against: a key that
//! is not there is unknown, and a value of another kind is wrong. This is stricter than conversion on demand, which would
//! take 8080.4 for a port and "on" for a number, and it lets a message name the variable or the file in which the value stands.

use std::{collections::BTreeMap, path::Path};

use config::{Config, File, FileFormat, Source, Value, ValueKind};

use super::{DEFAULTS, Problem, Settings, SettingsError};

/// The prefix of our variables; section and key follow, separated by two underscores.
const PREFIX: &str = "FAIRCROSS__";
/// Secrets are read by `secrets.rs`, never merged with the rest.
pub(super) const SECRETS_PREFIX: &str = "FAIRCROSS__SECRETS__";
/// Customary names and the keys that they set.
const CUSTOMARY: [(&str, &str); 3] = [
    ("DATABASE_URL", "database.url"),
    ("REDIS_URL", "redis.url"),
    ("PORT", "server.port"),
];

/// The variables that settings may come from, so that a test can hand in its own. No `Debug`: it holds secrets.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The variables of this process. One that is not UTF-8 is taken with its unreadable characters replaced, and then
    /// refused like any other wrong value.
    pub fn of_process() -> Self {
        Self(
            std::env::vars_os()
                .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
                .collect(),
        )
    }

    /// These variables and no others.
    pub fn of<N: Into<String>, V: Into<String>>(variables: impl IntoIterator<Item = (N, V)>) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// Keys as `section.key` with their values.
type Flat = BTreeMap<String, Value>;

/// All layers in one, typed but not yet checked for sense.
pub(super) fn merge(file: Option<&Path>, environment: &Environment) -> Result<Settings, SettingsError> {
    let defaults = parse(DEFAULTS).expect("config/default.toml is TOML");
    let mut problems = Vec::new();
    let mut merged = defaults.clone();
    if let Some(path) = file {
        merged.extend(file_values(path, &defaults, &mut problems)?);
    }
    merged.extend(environment_values(environment, &defaults, &mut problems));
    if !problems.is_empty() {
        return Err(SettingsError { problems });
    }
    typed(merged)
}

fn typed(values: Flat) -> Result<Settings, SettingsError> {
    let builder = values
        .into_iter()
        .try_fold(Config::builder(), |builder, (key, value)| builder.set_override(key, value));
    builder.and_then(|builder| builder.build()?.try_deserialize()).map_err(|error| {
        let (setting, explanation) = match &error {
            config::ConfigError::At {
                error,
                key: Some(key),
                origin,
            } => (
                key.clone(),
                format!(
                    "{error}{}",
                    origin.as_deref().map(|place| format!(" (in {place})")).unwrap_or_default()
                ),
            ),
            config::ConfigError::Type {
                key: Some(key),
                expected,
                origin,
                ..
            } => (
                key.clone(),
                format!(
                    "must be {expected}{}",
                    origin.as_deref().map(|place| format!(" (in {place})")).unwrap_or_default()
                ),
            ),
            other => ("settings".to_owned(), other.to_string()),
        };
        SettingsError::one(setting, explanation)
    })
}

fn file_values(path: &Path, defaults: &Flat, problems: &mut Vec<Problem>) -> Result<Flat, SettingsError> {
    let place = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| SettingsError::one("--config", format!("{place} cannot be read ({error}); name a readable TOML file")))?;
    let values = parse(&text).map_err(|error| SettingsError::one("--config", format!("{place} is not TOML: {error}")))?;
    let mut checked = Flat::new();
    for (key, value) in values {
        let problem = if key == "secrets" || key.starts_with("secrets.") {
            Some("is a secret and must not stand in a file: remove it there and set it in the environment".to_owned())
        } else {
            match defaults.get(&key) {
                None => Some(unknown(&key, defaults)),
                Some(default) if !same_kind(&default.kind, &value.kind) => Some(format!("must be {}", kind_in_words(&default.kind))),
                Some(_) => None,
            }
        };
        match problem {
            Some(explanation) => problems.push(Problem {
                setting: key,
                explanation: format!("{explanation} (in {place})"),
            }),
            None => drop(checked.insert(key, Value::new(Some(&place), value.kind))),
        }
    }
    Ok(checked)
}

fn environment_values(environment: &Environment, defaults: &Flat, problems: &mut Vec<Problem>) -> Flat {
    let customary = CUSTOMARY
        .iter()
        .filter(|(name, _)| environment.get(name).is_some())
        .map(|(name, key)| ((*name).to_owned(), (*key).to_owned()));
    let ours = environment
        .names()
        .filter(|name| name.starts_with(PREFIX) && !name.starts_with(SECRETS_PREFIX));
    let ours = ours.map(|name| (name.to_owned(), name[PREFIX.len()..].to_lowercase().replace("__", ".")));
    let mut values = Flat::new();
    // Ours come after the customary names and so win.
    for (name, key) in customary.chain(ours) {
        let Some(text) = environment.get(&name) else { continue };
        let Some(default) = defaults.get(&key) else {
            problems.push(Problem {
                setting: name,
                explanation: unknown(&key, defaults),
            });
            continue;
        };
        match read_as(&default.kind, text) {
            Some(kind) => drop(values.insert(key, Value::new(Some(&name), kind))),
            None => problems.push(Problem {
                setting: name,
                explanation: format!("must be {}, not {text:?}", kind_in_words(&default.kind)),
            }),
        }
    }
    values
}

/// A variable's text in the kind of the default; `None` where it is of another.
fn read_as(default: &ValueKind, text: &str) -> Option<ValueKind> {
    match default {
        ValueKind::Boolean(_) => text.trim().parse().ok().map(ValueKind::Boolean),
        ValueKind::I64(_) => text.trim().parse().ok().map(ValueKind::I64),
        ValueKind::Array(items) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            let item = items.first().map_or(ValueKind::String(String::new()), |value| value.kind.clone());
            parts
                .map(|part| read_as(&item, part).map(|kind| Value::new(None, kind)))
                .collect::<Option<Vec<_>>>()
                .map(ValueKind::Array)
        }
        _ => Some(ValueKind::String(text.to_owned())),
    }
}

fn same_kind(default: &ValueKind, value: &ValueKind) -> bool {
    match (default, value) {
        (ValueKind::Array(defaults), ValueKind::Array(items)) => {
            let item = defaults
                .first()
                .map_or(ValueKind::String(String::new()), |value| value.kind.clone());
            items.iter().all(|value| same_kind(&item, &value.kind))
        }
        _ => std::mem::discriminant(default) == std::mem::discriminant(value),
    }
}

fn kind_in_words(kind: &ValueKind) -> &'static str {
    match kind {
        ValueKind::Boolean(_) => "true or false",
        ValueKind::I64(_) => "a whole number",
        ValueKind::Array(items) if items.is_empty() => "a list of texts",
        ValueKind::Array(_) => "a list of whole numbers",
        _ => "a text",
    }
}

fn unknown(key: &str, defaults: &Flat) -> String {
    let section = key.split_once('.').map_or(key, |(section, _)| section);
    let siblings: Vec<&str> = defaults
        .keys()
        .filter_map(|name| name.split_once('.'))
        .filter(|(of, _)| *of == section)
        .map(|(_, name)| name)
        .collect();
    if siblings.is_empty() {
        let mut sections: Vec<&str> = defaults
            .keys()
            .filter_map(|name| name.split_once('.'))
            .map(|(section, _)| section)
            .collect();
        sections.dedup();
        format!("is not a setting: the sections are {}", sections.join(", "))
    } else {
        format!("is not a setting: [{section}] has {}", siblings.join(", "))
    }
}

/// TOML as `section.key` and value. A key outside a section, or below one, comes out as it stands and is then unknown.
fn parse(text: &str) -> Result<Flat, config::ConfigError> {
    let mut flat = Flat::new();
    for (section, value) in File::from_str(text, FileFormat::Toml).collect()? {
        match value.kind {
            ValueKind::Table(table) => flat.extend(table.into_iter().map(|(key, value)| (format!("{section}.{key}"), value))),
            _ => drop(flat.insert(section, value)),
        }
    }
    Ok(flat)
}
