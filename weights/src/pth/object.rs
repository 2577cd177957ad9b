//! What a pickle holds: objects in one list, which name each other by their places in it.
//!
//! So nothing is cloned where the memo shares it, and neither reading nor dropping ever recurses.

/// The beginning of a file's text, for messages: on one line, without control characters.
pub(super) fn short(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_debug).collect()
}

/// A place in the list of objects.
pub(super) type Id = u32;

/// An object. What no state dict needs the value of is kept by its kind alone.
#[derive(Debug)]
pub(super) enum Object<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// An integer of more than 64 bits: its bytes, the lowest first.
    Long(&'a [u8]),
    Float,
    Text(&'a str),
    Bytes,
    Set,
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// The name of a class or function. It stays a name.
    Global {
        module: &'a str,
        name: &'a str,
    },
    /// What the file keeps outside the pickle: a storage.
    Persistent(Id),
    /// The call of a class or function, which is never made.
    Call {
        callee: Id,
        arguments: Id,
    },
}

/// A pickle that was read.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    pub objects: Vec<Object<'a>>,
    pub root: Id,
    /// Bytes it took.
    pub length: usize,
}

impl<'a> Pickle<'a> {
    pub fn get(&self, id: Id) -> &Object<'a> {
        &self.objects[id as usize]
    }

    pub fn text(&self, id: Id) -> Option<&'a str> {
        match self.get(id) {
            Object::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn int(&self, id: Id) -> Option<i64> {
        match self.get(id) {
            Object::Int(value) => Some(*value),
            _ => None,
        }
    }

    pub fn global(&self, id: Id) -> Option<(&'a str, &'a str)> {
        match self.get(id) {
            Object::Global { module, name } => Some((module, name)),
            _ => None,
        }
    }

    pub fn tuple(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Object::Tuple(items) => Some(items),
            _ => None,
        }
    }

    pub fn dict(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.get(id) {
            Object::Dict(items) => Some(items),
            _ => None,
        }
    }

    /// The function called and its arguments.
    pub fn call(&self, id: Id) -> Option<((&'a str, &'a str), &[Id])> {
        match self.get(id) {
            Object::Call { callee, arguments } => {
                Some((self.global(*callee)?, self.tuple(*arguments)?))
            }
            _ => None,
        }
    }

    /// The last value under a key, as Python's dict keeps it.
    pub fn value(&self, dict: &[(Id, Id)], key: &str) -> Option<Id> {
        let entry = dict.iter().rev().find(|(name, _)| self.text(*name) == Some(key));
        entry.map(|(_, value)| *value)
    }

    /// What an object is, for messages.
    pub fn describe(&self, id: Id) -> String {
        match self.get(id) {
            Object::None => "None".to_owned(),
            Object::Bool(_) => "a bool".to_owned(),
            Object::Int(_) | Object::Long(_) => "an int".to_owned(),
            Object::Float => "a float".to_owned(),
            Object::Text(_) => "a str".to_owned(),
            Object::Bytes => "bytes".to_owned(),
            Object::Set => "a set".to_owned(),
            Object::Tuple(items) => format!("a tuple of {}", items.len()),
            Object::List(items) => format!("a list of {}", items.len()),
            Object::Dict(items) => format!("a dict of {}", items.len()),
            Object::Global { module, name } => format!("`{}.{}`", short(module), short(name)),
            Object::Persistent(_) => "a storage".to_owned(),
            Object::Call { callee, .. } => match self.global(*callee) {
                Some(("torch._utils", name)) if name.starts_with("_rebuild") => {
                    "a tensor".to_owned()
                }
                Some((module, name)) => format!("an object of `{}.{}`", short(module), short(name)),
                None => "an object".to_owned(),
            },
        }
    }
}
