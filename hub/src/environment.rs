//! The settings that `huggingface_hub` reads from the environment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::token::Token;
use crate::{Error, HubBuilder, Result};

/// A look into the environment; tests give their own. Empty variables count as unset.
pub(crate) struct Environment<'a> {
    /// The value of a variable.
    pub(crate) variable: &'a dyn Fn(&str) -> Option<String>,
    /// The user's folder.
    pub(crate) user: Option<PathBuf>,
}

impl Environment<'_> {
    /// A builder with everything that the environment says.
    pub(crate) fn builder(&self) -> Result<HubBuilder> {
        let mut builder = HubBuilder::new(self.cache()?);
        if let Some(endpoint) = self.get("HF_ENDPOINT") {
            builder = builder.endpoint(&endpoint);
        }
        if let Some(seconds) = self.get("HF_HUB_DOWNLOAD_TIMEOUT") {
            let seconds: u64 = seconds.parse().ok().filter(|s| *s > 0).ok_or_else(|| {
                let reason = format!("`{seconds}` is no number of seconds above 0");
                Error::Setting { name: "HF_HUB_DOWNLOAD_TIMEOUT".into(), reason }
            })?;
            builder = builder.timeout(Duration::from_secs(seconds));
        }
        let offline = self.get("HF_HUB_OFFLINE").or_else(|| self.get("TRANSFORMERS_OFFLINE"));
        builder = builder.offline(offline.is_some_and(|value| is_true(&value)));
        builder.token = self.token()?;
        builder.certificates = self.get("SSL_CERT_FILE").map(PathBuf::from);
        builder.proxy_from_environment = true;
        Ok(builder)
    }

    fn get(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    fn is_set(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| is_true(&value))
    }

    /// A folder or file from a variable, with `~` and variables in it replaced.
    fn path(&self, name: &str) -> Option<PathBuf> {
        let expanded = expand_variables(&self.get(name)?, self.variable);
        let rest = expanded.strip_prefix('~');
        match (rest, &self.user) {
            (Some(""), Some(user)) => Some(user.clone()),
            (Some(rest), Some(user)) if rest.starts_with('/') => Some(user.join(&rest[1..])),
            _ => Some(PathBuf::from(expanded)),
        }
    }

    fn home(&self) -> Result<PathBuf> {
        if let Some(home) = self.path("HF_HOME") {
            return Ok(home);
        }
        if let Some(cache) = self.path("XDG_CACHE_HOME") {
            return Ok(cache.join("huggingface"));
        }
        let user = self.user.as_ref().ok_or_else(|| Error::Setting {
            name: "HF_HOME".into(),
            reason: "it must be set where the user has no home folder".into(),
        })?;
        Ok(user.join(".cache").join("huggingface"))
    }

    fn cache(&self) -> Result<PathBuf> {
        match self.path("HF_HUB_CACHE").or_else(|| self.path("HUGGINGFACE_HUB_CACHE")) {
            Some(cache) => Ok(cache),
            None => Ok(self.home()?.join("hub")),
        }
    }

    fn token(&self) -> Result<Option<Token>> {
        if self.is_set("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            return Ok(None);
        }
        for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
            if let Some(value) = self.get(name) {
                return Token::new(&value, name);
            }
        }
        match self.path("HF_TOKEN_PATH") {
            Some(path) => token_from(&path),
            None => token_from(&self.home()?.join("token")),
        }
    }
}

fn token_from(path: &Path) -> Result<Option<Token>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Token::new(&text, format!("`{}`", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read the token in", path)(error)),
    }
}

fn is_true(value: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].contains(&value.to_uppercase().as_str())
}

/// `$NAME` and `${NAME}` replaced by the variables that are set, as Python's `os.path.expandvars` does.
fn expand_variables(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let (name, end) = match after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some((name, _)) => (name, name.len() + 2),
            None => {
                let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                let end = end.unwrap_or(after.len());
                (&after[..end], end)
            }
        };
        match Some(name).filter(|name| !name.is_empty()).and_then(variable) {
            Some(value) => out.push_str(&value),
            None => {
                out.push('$');
                out.push_str(&after[..end]);
            }
        }
        rest = &after[end..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(variables: &[(&str, &str)]) -> Result<HubBuilder> {
        let variable = |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        Environment { variable: &variable, user: Some("/nowhere/me".into()) }.builder()
    }

    fn cache(variables: &[(&str, &str)]) -> PathBuf {
        built(variables).unwrap().cache
    }

    #[test]
    fn the_cache_lies_where_python_has_it() {
        assert_eq!(cache(&[]), Path::new("/nowhere/me/.cache/huggingface/hub"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/x")]), Path::new("/x/huggingface/hub"));
        assert_eq!(cache(&[("HF_HOME", "/h"), ("XDG_CACHE_HOME", "/x")]), Path::new("/h/hub"));
        assert_eq!(cache(&[("HF_HOME", "~/h")]), Path::new("/nowhere/me/h/hub"));
        assert_eq!(cache(&[("HF_HOME", "$D/${D}$E"), ("D", "/d")]), Path::new("/d//d$E/hub"));
        assert_eq!(
            cache(&[("HF_HOME", "/h"), ("HUGGINGFACE_HUB_CACHE", "/old")]),
            Path::new("/old")
        );
        let both = [("HF_HUB_CACHE", "/new"), ("HUGGINGFACE_HUB_CACHE", "/old")];
        assert_eq!(cache(&both), Path::new("/new"));
        assert_eq!(cache(&[("HF_HOME", "")]), Path::new("/nowhere/me/.cache/huggingface/hub"));
    }

    #[test]
    fn offline_is_read_as_python_reads_it() {
        for (value, expected) in
            [("1", true), ("on", true), ("Yes", true), ("TRUE", true), ("0", false)]
        {
            assert_eq!(built(&[("HF_HUB_OFFLINE", value)]).unwrap().offline, expected, "{value}");
        }
        assert!(built(&[("TRANSFORMERS_OFFLINE", "1")]).unwrap().offline);
        assert!(!built(&[]).unwrap().offline);
    }

    #[test]
    fn the_token_comes_from_variables_then_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "hf_file\n").unwrap();
        let home = folder.path().to_str().unwrap();
        let origin = |variables: &[(&str, &str)]| {
            built(variables).unwrap().token.map(|token| token.origin().to_owned())
        };
        let both = [("HF_TOKEN", "hf_a"), ("HUGGING_FACE_HUB_TOKEN", "hf_b"), ("HF_HOME", home)];
        assert_eq!(origin(&both).as_deref(), Some("HF_TOKEN"));
        assert_eq!(origin(&both[1..]).as_deref(), Some("HUGGING_FACE_HUB_TOKEN"));
        assert_eq!(origin(&both[2..]), Some(format!("`{}`", file.display())));
        assert_eq!(
            origin(&[("HF_TOKEN_PATH", file.to_str().unwrap())]),
            Some(format!("`{}`", file.display()))
        );
        assert_eq!(origin(&[("HF_TOKEN", "hf_a"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
        assert_eq!(origin(&[]), None);
    }

    #[test]
    fn a_token_never_shows() {
        let builder = built(&[("HF_TOKEN", "hf_secret")]).unwrap();
        assert!(!format!("{builder:?}").contains("hf_secret"));
        let error = built(&[("HF_TOKEN", "hf_sec ret")]).unwrap_err();
        assert!(!error.to_string().contains("hf_sec"), "{error}");
        assert!(error.to_string().starts_with("HF_TOKEN: "), "{error}");
    }
}
