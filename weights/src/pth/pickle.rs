//! Python's pickle machine, protocols 2 to 5, which makes [`Object`]s and calls nothing.
//!
//! Opcodes are those of CPython's `Lib/pickletools.py`. Refused are what needs code or another file to mean something
//! (extension codes, buffers outside the pickle, persistent ids that are text) and the text opcodes of protocol 0.

use super::object::{Id, Object, Pickle};
use std::collections::HashMap;

/// The most objects, and references to them, that a pickle may have; those of checkpoints have some ten thousand.
const MAX_OBJECTS: usize = 4 << 20;

/// Why a pickle cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The bytes end before it does.
    Short,
    /// What is wrong with it.
    Bad(String),
}

/// Reads the pickle that `bytes` begins with.
pub(super) fn read(bytes: &[u8]) -> Result<Pickle<'_>, Fault> {
    let mut machine = Machine { bytes, ..Machine::default() };
    loop {
        let at = machine.at;
        match machine.byte()? {
            b'.' => {
                let root = machine.pop()?;
                return Ok(Pickle { objects: machine.objects, root, length: machine.at });
            }
            opcode => machine.step(opcode).map_err(|fault| match fault {
                Fault::Bad(reason) => Fault::Bad(format!("{reason} (byte {at})")),
                short => short,
            })?,
        }
        machine.check_size()?;
    }
}

#[derive(Debug, Default)]
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    objects: Vec<Object<'a>>,
    stack: Vec<Id>,
    /// How high the stack was at each mark.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// References in tuples, lists and dicts.
    held: usize,
}

impl<'a> Machine<'a> {
    fn step(&mut self, opcode: u8) -> Result<(), Fault> {
        match opcode {
            0x80 => self.protocol(),
            0x95 => self.take(8).map(drop), // FRAME
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' | b'1' | b'2' => self.drop_or_double(opcode),
            b'N' | b'G' | b'J' | b'K' | b'M' | 0x88..=0x8b => self.number(opcode),
            b'X' | b'U' | b'T' | b'B' | b'C' | 0x8c..=0x8e | 0x96 => self.string(opcode),
            b')' | b']' | b'}' | b't' | b'l' | b'd' | 0x85..=0x87 | 0x8f | 0x91 => {
                self.container(opcode)
            }
            b'a' | b'e' | b's' | b'u' | 0x90 => self.fill(opcode),
            b'q' | b'r' | b'h' | b'j' | 0x94 => self.memo(opcode),
            b'c' | 0x93 => self.global(opcode),
            b'R' | b'b' | 0x81 | 0x92 | b'Q' => self.object(opcode),
            _ => bad(format!("its pickle has the opcode {opcode:#04x}, which no state dict needs")),
        }
    }

    fn protocol(&mut self) -> Result<(), Fault> {
        match self.byte()? {
            0..=5 => Ok(()),
            version => bad(format!("its pickle is of protocol {version}, known are those up to 5")),
        }
    }

    fn drop_or_double(&mut self, opcode: u8) -> Result<(), Fault> {
        match opcode {
            b'0' if self.stack.len() > self.floor() => self.pop().map(drop), // POP
            b'0' | b'1' => self.pop_mark().map(drop),                        // POP_MARK
            _ => {
                // DUP
                let top = self.top()?;
                self.stack.push(top);
                Ok(())
            }
        }
    }

    fn number(&mut self, opcode: u8) -> Result<(), Fault> {
        let object = match opcode {
            b'N' => Object::None,
            0x88 | 0x89 => Object::Bool(opcode == 0x88),
            b'K' => Object::Int(self.byte()?.into()),
            b'M' => Object::Int(u16::from_le_bytes(self.array()?).into()),
            b'J' => Object::Int(i32::from_le_bytes(self.array()?).into()),
            b'G' => {
                self.take(8)?;
                Object::Float
            }
            _ => {
                let length = self.length(if opcode == 0x8a { 1 } else { 4 })?;
                long(self.take(length)?)
            }
        };
        self.push(object)
    }

    /// Text and bytes, after a length of one, four or eight bytes.
    fn string(&mut self, opcode: u8) -> Result<(), Fault> {
        let length = self.length(match opcode {
            b'U' | b'C' | 0x8c => 1,
            0x8d | 0x8e | 0x96 => 8,
            _ => 4,
        })?;
        let bytes = self.take(length)?;
        let object = match (opcode, std::str::from_utf8(bytes)) {
            // Python 3's bytes, and Python 2's strings that are no text.
            (b'B' | b'C' | 0x8e | 0x96, _) | (b'U' | b'T', Err(_)) => Object::Bytes,
            (_, Ok(text)) => Object::Text(text),
            // A str that holds half a surrogate pair, such as a file name of another encoding.
            (_, Err(_)) => Object::Bytes,
        };
        self.push(object)
    }

    fn container(&mut self, opcode: u8) -> Result<(), Fault> {
        let object = match opcode {
            b')' => Object::Tuple(Vec::new()),
            b']' => Object::List(Vec::new()),
            b'}' => Object::Dict(Vec::new()),
            0x85..=0x87 => {
                let length = usize::from(opcode - 0x84);
                let start = self.stack.len().checked_sub(length).filter(|at| *at >= self.floor());
                Object::Tuple(self.split_off(start.ok_or_else(underflow)?))
            }
            b't' => Object::Tuple(self.pop_mark()?),
            b'l' => Object::List(self.pop_mark()?),
            b'd' => Object::Dict(pairs(&self.pop_mark()?)?),
            0x8f => Object::Set,
            _ => {
                // FROZENSET
                self.pop_mark()?;
                Object::Set
            }
        };
        self.push(object)
    }

    /// Puts values into the list, dict or set below them. What an object does with them is its code's affair.
    fn fill(&mut self, opcode: u8) -> Result<(), Fault> {
        let values = match opcode {
            b'a' => vec![self.pop()?],
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.pop_mark()?,
        };
        let top = self.top()?;
        self.held += values.len();
        match (opcode, &mut self.objects[top as usize]) {
            (b'a' | b'e', Object::List(items)) => items.extend(values),
            (b's' | b'u', Object::Dict(items)) => items.extend(pairs(&values)?),
            (0x90, Object::Set) | (_, Object::Call { .. }) => {}
            _ => return bad("its pickle puts values into what is no container for them"),
        }
        Ok(())
    }

    fn memo(&mut self, opcode: u8) -> Result<(), Fault> {
        let key = match opcode {
            b'q' | b'h' => self.byte()?.into(),
            b'r' | b'j' => u32::from_le_bytes(self.array()?),
            _ => self.memo.len() as u32, // MEMOIZE
        };
        if matches!(opcode, b'h' | b'j') {
            let id = self.memo.get(&key).copied();
            let id =
                id.ok_or_else(|| Fault::Bad(format!("its pickle's memo has no entry {key}")))?;
            self.stack.push(id);
        } else {
            let top = self.top()?;
            self.memo.insert(key, top);
        }
        Ok(())
    }

    fn global(&mut self, opcode: u8) -> Result<(), Fault> {
        let (module, name) = if opcode == b'c' {
            (self.line()?, self.line()?)
        } else {
            // STACK_GLOBAL
            let (name, module) = (self.pop()?, self.pop()?);
            match (&self.objects[module as usize], &self.objects[name as usize]) {
                (Object::Text(module), Object::Text(name)) => (*module, *name),
                _ => return bad("its pickle names a class by what is no text"),
            }
        };
        self.push(Object::Global { module, name })
    }

    fn object(&mut self, opcode: u8) -> Result<(), Fault> {
        let last = self.pop()?;
        let object = match opcode {
            // BUILD: the state of an object. An OrderedDict's is PyTorch's `_metadata`: versions of modules.
            b'b' => return self.top().map(drop),
            b'Q' => Object::Persistent(last),
            0x92 => {
                // NEWOBJ_EX: the last are the keywords.
                let arguments = self.pop()?;
                Object::Call { callee: self.pop()?, arguments }
            }
            _ => {
                // REDUCE and NEWOBJ
                let callee = self.pop()?;
                self.ordered_dict(callee, last).unwrap_or(Object::Call { callee, arguments: last })
            }
        };
        self.push(object)
    }

    /// The dict that a call of `collections.OrderedDict` makes: an empty one, or in Python 2 one of a list of pairs.
    fn ordered_dict(&self, callee: Id, arguments: Id) -> Option<Object<'a>> {
        let get = |id: Id| &self.objects[id as usize];
        let Object::Global { module: "collections", name: "OrderedDict" } = get(callee) else {
            return None;
        };
        let Object::Tuple(arguments) = get(arguments) else { return None };
        let pair = |id: &Id| match get(*id) {
            Object::List(pair) | Object::Tuple(pair) => <[Id; 2]>::try_from(&pair[..]).ok(),
            _ => None,
        };
        match arguments[..] {
            [] => Some(Object::Dict(Vec::new())),
            [list] => match get(list) {
                Object::List(items) => {
                    let pairs = items.iter().map(|id| pair(id).map(|[key, value]| (key, value)));
                    pairs.collect::<Option<_>>().map(Object::Dict)
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn push(&mut self, object: Object<'a>) -> Result<(), Fault> {
        let held = match &object {
            Object::Tuple(items) | Object::List(items) => items.len(),
            Object::Dict(items) => 2 * items.len(),
            _ => 0,
        };
        self.held += held;
        // `check_size` keeps this far below the type's limit.
        self.stack.push(self.objects.len() as Id);
        self.objects.push(object);
        Ok(())
    }

    /// Bounds the memory by a number that opcodes, of one byte each, cannot multiply.
    fn check_size(&self) -> Result<(), Fault> {
        let size =
            self.objects.len() + self.stack.len() + self.marks.len() + self.memo.len() + self.held;
        match size <= MAX_OBJECTS {
            true => Ok(()),
            false => bad(format!("its pickle has more than {MAX_OBJECTS} objects")),
        }
    }

    /// The height that the stack cannot fall below before the last mark is taken away.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Id, Fault> {
        self.stack[self.floor()..].last().copied().ok_or_else(underflow)
    }

    fn pop(&mut self) -> Result<Id, Fault> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_mark(&mut self) -> Result<Vec<Id>, Fault> {
        let mark = self.marks.pop();
        mark.map(|mark| self.split_off(mark)).ok_or_else(underflow)
    }

    /// What is on the stack from `start` on. (`Vec::split_off` would hand on the stack's capacity if it starts at 0.)
    fn split_off(&mut self, start: usize) -> Vec<Id> {
        self.stack.drain(start..).collect()
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        self.array().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let rest = &self.bytes[self.at..];
        let array = rest.first_chunk().ok_or(Fault::Short)?;
        self.at += N;
        Ok(*array)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Fault> {
        let rest = &self.bytes[self.at..];
        let taken = usize::try_from(length).ok().and_then(|length| rest.get(..length));
        self.at += taken.map_or(0, <[u8]>::len);
        taken.ok_or(Fault::Short)
    }

    /// A little-endian length of so many bytes.
    fn length(&mut self, bytes: u64) -> Result<u64, Fault> {
        let bytes = self.take(bytes)?;
        Ok(bytes.iter().rev().fold(0, |length, byte| length << 8 | u64::from(*byte)))
    }

    fn line(&mut self) -> Result<&'a str, Fault> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or(Fault::Short)?;
        self.at += end + 1;
        std::str::from_utf8(&rest[..end])
            .or_else(|_| bad("its pickle names a class by what is no text"))
    }
}

/// A little-endian integer in two's complement.
fn long(bytes: &[u8]) -> Object<'_> {
    let sign = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
    let mut padded = [sign; 8];
    match padded.get_mut(..bytes.len()) {
        Some(low) => {
            low.copy_from_slice(bytes);
            Object::Int(i64::from_le_bytes(padded))
        }
        None => Object::Long(bytes),
    }
}

fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>, Fault> {
    match items.as_chunks() {
        (pairs, []) => Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect()),
        _ => bad("its pickle has a key without a value"),
    }
}

fn bad<T>(reason: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Bad(reason.into()))
}

fn underflow() -> Fault {
    Fault::Bad("its pickle takes more from its stack than is there".to_owned())
}
