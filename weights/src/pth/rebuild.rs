//! Tensors as a pickle describes them: a call of one of `torch._utils`' functions with a storage, and where in it.

use super::object::{Id, Object, Pickle, short};
use super::{Storage, Storages};
use crate::stored::{StoredTensor, is_possible, is_supported};
use candle_core::DType;

/// The most dimensions a tensor may have, as in torch. (One tuple can be the shape of all of a file's tensors.)
const MAX_RANK: usize = 64;

/// A tensor that lies in a storage.
#[derive(Debug)]
pub(super) struct Rebuilt<'p> {
    storage: StorageId<'p>,
    element: Element,
    /// Numbers before the first one.
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

/// What a pickle says about a storage.
#[derive(Debug, Clone, Copy)]
pub(super) struct StorageId<'p> {
    pub key: &'p str,
    pub element: Element,
    /// Numbers in it.
    pub count: usize,
}

/// A type of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element {
    /// PyTorch's name.
    name: &'static str,
    pub size: usize,
    /// None if there is no such type here.
    dtype: Option<DType>,
}

/// Types by the names of their storages and of themselves.
const ELEMENTS: [(&str, &str, usize, Option<DType>); 26] = [
    ("FloatStorage", "float32", 4, Some(DType::F32)),
    ("HalfStorage", "float16", 2, Some(DType::F16)),
    ("BFloat16Storage", "bfloat16", 2, Some(DType::BF16)),
    ("DoubleStorage", "float64", 8, Some(DType::F64)),
    ("ByteStorage", "uint8", 1, Some(DType::U8)),
    ("LongStorage", "int64", 8, Some(DType::I64)),
    ("IntStorage", "int32", 4, Some(DType::I32)),
    ("ShortStorage", "int16", 2, Some(DType::I16)),
    ("CharStorage", "int8", 1, None),
    ("BoolStorage", "bool", 1, None),
    ("ComplexFloatStorage", "complex64", 8, None),
    ("ComplexDoubleStorage", "complex128", 16, None),
    ("QInt8Storage", "qint8", 1, None),
    ("QUInt8Storage", "quint8", 1, None),
    ("QInt32Storage", "qint32", 4, None),
    ("QUInt4x2Storage", "quint4x2", 1, None),
    ("QUInt2x4Storage", "quint2x4", 1, None),
    ("UntypedStorage", "untyped bytes", 1, None),
    ("_UntypedStorage", "untyped bytes", 1, None),
    // These have no storage type: they are views of untyped ones.
    ("", "uint16", 2, None),
    ("", "uint32", 4, Some(DType::U32)),
    ("", "uint64", 8, None),
    ("", "float8_e4m3fn", 1, None),
    ("", "float8_e5m2", 1, None),
    ("", "float8_e4m3fnuz", 1, None),
    ("", "float8_e5m2fnuz", 1, None),
];

fn element(found: impl Fn(&(&str, &str, usize, Option<DType>)) -> bool) -> Option<Element> {
    let (_, name, size, dtype) = ELEMENTS.iter().find(|entry| found(entry))?;
    Some(Element { name, size: *size, dtype: *dtype })
}

/// The tensor at `id`; none if there is something else.
///
/// # Errors
/// A tensor that no storage alone describes (sparse, quantised, of another device), or arguments that make no sense.
pub(super) fn tensor<'p>(pickle: &Pickle<'p>, mut id: Id) -> Result<Option<Rebuilt<'p>>, String> {
    // Arguments in tuples were made before their call, so this comes to an end.
    loop {
        let Some((function, arguments)) = pickle.call(id) else { return Ok(None) };
        id = match (function, arguments) {
            (
                ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state"),
                [data, ..],
            ) => *data,
            // A subclass of tensor: a function, the class, the function's arguments, attributes.
            (("torch._tensor", "_rebuild_from_type_v2"), [function, _, arguments, ..]) => {
                return match (pickle.global(*function), pickle.tuple(*arguments)) {
                    (Some(function), Some(arguments)) => call(pickle, function, arguments),
                    _ => Err("has arguments that make no sense".to_owned()),
                };
            }
            (function, arguments) => return call(pickle, function, arguments),
        }
    }
}

/// Whether there is a tensor at `id`, readable or not.
pub(super) fn is_tensor(pickle: &Pickle<'_>, id: Id) -> bool {
    !matches!(tensor(pickle, id), Ok(None))
}

fn call<'p>(
    pickle: &Pickle<'p>,
    function: (&str, &str),
    arguments: &[Id],
) -> Result<Option<Rebuilt<'p>>, String> {
    let rebuilt = match (function, arguments) {
        (("torch._utils", "_rebuild_tensor"), [storage, place @ ..]) => {
            rebuild(pickle, *storage, place, None, None)
        }
        (
            ("torch._utils", "_rebuild_tensor_v2"),
            [storage, offset, shape, strides, _, _, rest @ ..],
        ) => rebuild(pickle, *storage, &[*offset, *shape, *strides], None, rest.first()),
        (
            ("torch._utils", "_rebuild_tensor_v3"),
            [storage, offset, shape, strides, _, _, dtype, rest @ ..],
        ) => rebuild(pickle, *storage, &[*offset, *shape, *strides], Some(*dtype), rest.first()),
        (("torch._utils", name), _) if name.starts_with("_rebuild") => Err(unreadable(name)),
        (("torch._tensor", "_rebuild_from_type_v2"), _) => {
            Err("has arguments that make no sense".to_owned())
        }
        _ => return Ok(None),
    };
    rebuilt.map(Some)
}

fn unreadable(function: &str) -> String {
    let kind = match function {
        "_rebuild_sparse_tensor" | "_rebuild_sparse_csr_tensor" => "is sparse".to_owned(),
        "_rebuild_qtensor" => "is quantised".to_owned(),
        "_rebuild_meta_tensor_no_storage" => "is on the device `meta`, without numbers".to_owned(),
        other => format!("is made by `torch._utils.{}`", short(other)),
    };
    format!("{kind}, only dense tensors can be read")
}

/// A tensor of a storage, `[offset, shape, strides]`, its own type if it is not the storage's, and PyTorch's flags.
fn rebuild<'p>(
    pickle: &Pickle<'p>,
    storage: Id,
    place: &[Id],
    dtype: Option<Id>,
    flags: Option<&Id>,
) -> Result<Rebuilt<'p>, String> {
    let nonsense = || "has arguments that make no sense".to_owned();
    let &[offset, shape, strides] = place else { return Err(nonsense()) };
    match flags.map(|flags| pickle.get(*flags)) {
        None | Some(Object::None) => {}
        Some(Object::Dict(flags)) if flags.is_empty() => {}
        Some(_) => return Err("is a conjugate or negative view, which cannot be read".to_owned()),
    }
    let Object::Persistent(storage) = pickle.get(storage) else { return Err(nonsense()) };
    let storage = storage_id(pickle, *storage)?;
    let element = match dtype {
        None => storage.element,
        Some(dtype) => match pickle.global(dtype) {
            Some(("torch", name)) => element(|entry| entry.1 == name)
                .ok_or_else(|| format!("is of the unknown type `torch.{}`", short(name)))?,
            _ => return Err(nonsense()),
        },
    };
    let offset = pickle.int(offset).and_then(|offset| offset.try_into().ok());
    Ok(Rebuilt {
        storage,
        element,
        offset: offset.ok_or_else(nonsense)?,
        shape: sizes(pickle, shape).ok_or_else(nonsense)?,
        strides: sizes(pickle, strides).ok_or_else(nonsense)?,
    })
}

/// The numbers of a tuple, or of a `torch.Size` of one.
fn sizes(pickle: &Pickle<'_>, id: Id) -> Option<Vec<usize>> {
    let items = match pickle.call(id) {
        Some((("torch", "Size"), [items])) => pickle.tuple(*items)?,
        _ => pickle.tuple(id)?,
    };
    let items = Some(items).filter(|items| items.len() <= MAX_RANK)?;
    items.iter().map(|item| pickle.int(*item)?.try_into().ok()).collect()
}

/// Reads `('storage', type, key, device, count)`, after which the old stream has None.
pub(super) fn storage_id<'p>(pickle: &Pickle<'p>, id: Id) -> Result<StorageId<'p>, String> {
    let nonsense = || "has a storage that makes no sense".to_owned();
    let (kind, key, count) = match pickle.tuple(id) {
        Some(&[tag, kind, key, _, count]) if pickle.text(tag) == Some("storage") => {
            (kind, key, count)
        }
        Some(&[tag, kind, key, _, count, view]) if pickle.text(tag) == Some("storage") => {
            match pickle.get(view) {
                Object::None => (kind, key, count),
                _ => {
                    return Err(
                        "has a storage that is part of another, as PyTorch before 0.4 wrote"
                            .to_owned(),
                    );
                }
            }
        }
        _ => return Err(nonsense()),
    };
    let element = match pickle.global(kind) {
        Some(("torch" | "torch.cuda" | "torch.storage", name)) => element(|entry| entry.0 == name)
            .ok_or_else(|| format!("has a storage of the unknown type `{}`", short(name)))?,
        _ => return Err(nonsense()),
    };
    let count = pickle.int(count).and_then(|count| count.try_into().ok());
    Ok(StorageId {
        key: pickle.text(key).ok_or_else(nonsense)?,
        element,
        count: count.ok_or_else(nonsense)?,
    })
}

impl Rebuilt<'_> {
    /// Where the tensor lies in the file, which has `length` bytes.
    ///
    /// # Errors
    /// Types that are not known here; a place that is not in the storage; more numbers than the file could hold.
    pub fn place(self, storages: &Storages, length: u64) -> Result<StoredTensor, String> {
        let element = self.element;
        let dtype = element.dtype.filter(|dtype| is_supported(*dtype)).ok_or_else(|| {
            format!(
                "is of type {}; known are F16, BF16, F32, F64, U8, U32, I16, I32 and I64",
                element.name
            )
        })?;
        let storage = self.storage(storages)?;
        let strides = self.scattered()?;
        let count: usize = self.shape.iter().product();
        let end = self.end().ok_or("reaches further than numbers go")?;
        let held = storage.length / element.size as u64;
        if end as u64 > held {
            return Err(format!("reaches up to number {end} of a storage that has {held}"));
        }
        // An expanded tensor has fewer numbers than its shape says: any number of them can be claimed.
        let bytes = (count as u64).checked_mul(element.size as u64);
        if bytes.is_none_or(|bytes| bytes > length) {
            return Err(format!(
                "has the shape {:?}, which would be larger than the file",
                self.shape
            ));
        }
        let first = if count == 0 { 0 } else { self.offset * element.size };
        Ok(StoredTensor {
            dtype,
            shape: self.shape,
            offset: storage.offset + first as u64,
            strides,
        })
    }

    fn storage(&self, storages: &Storages) -> Result<Storage, String> {
        let StorageId { key, element, count } = self.storage;
        let storage = storages
            .get(key)
            .ok_or_else(|| format!("is in the storage `{}`, which the file lacks", short(key)))?;
        let said = (count as u64).checked_mul(element.size as u64);
        match said.filter(|said| *said <= storage.length) {
            Some(length) => Ok(Storage { length, ..*storage }),
            None => Err(format!(
                "is in the storage `{}`, which should have {count} numbers of {} bytes and has {} bytes",
                short(key),
                element.size,
                storage.length
            )),
        }
    }

    /// The strides, unless the numbers lie row after row without gaps.
    fn scattered(&self) -> Result<Option<Vec<usize>>, String> {
        if self.strides.len() != self.shape.len() {
            return Err(format!(
                "has the shape {:?} and the strides {:?}",
                self.shape, self.strides
            ));
        }
        if !is_possible(&self.shape) {
            return Err(format!("has the impossible shape {:?}", self.shape));
        }
        let mut expected = 1;
        let mut scattered = false;
        for (dim, stride) in self.shape.iter().zip(&self.strides).rev() {
            scattered |= *dim > 1 && *stride != expected;
            expected *= (*dim).max(1);
        }
        Ok((scattered && !self.shape.contains(&0)).then(|| self.strides.clone()))
    }

    /// The number of the storage after the tensor's last; 0 for an empty tensor.
    fn end(&self) -> Option<usize> {
        if self.shape.contains(&0) {
            return Some(0);
        }
        let last =
            self.shape.iter().zip(&self.strides).try_fold(self.offset, |last, (dim, stride)| {
                last.checked_add((dim - 1).checked_mul(*stride)?)
            });
        last?.checked_add(1)
    }
}
