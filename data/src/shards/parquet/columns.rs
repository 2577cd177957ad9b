//! Which columns hold the images and their labels.

use parquet::basic::{ConvertedType, Type};
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};

/// Names of image columns.
const IMAGES: [&str; 2] = ["image", "img"];

/// Names of label columns, the ones that go first first.
const LABELS: [&str; 7] =
    ["label", "labels", "cls", "class", "target", "fine_label", "coarse_label"];

/// The numbers of the columns among a file's leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Columns {
    /// Encoded images.
    pub image: usize,
    /// Where the images came from.
    pub path: Option<usize>,
    /// Classes.
    pub label: Option<usize>,
}

/// The columns that may hold images: one by its name or form, or any binary ones.
///
/// # Errors
/// If there is none; the message lists the columns there are.
pub(super) fn candidates(schema: &SchemaDescriptor) -> Result<Vec<usize>, String> {
    let flat = |i: &usize| schema.column(*i).max_rep_level() == 0;
    let binary = |i: &usize| flat(i) && schema.column(*i).physical_type() == Type::BYTE_ARRAY;
    let all: Vec<usize> = (0..schema.num_columns()).filter(binary).collect();
    let is_bytes = |i: &usize| parts(&schema.column(*i))[1..] == ["bytes"];
    for name in IMAGES {
        let named = |i: &&usize| {
            let column = schema.column(**i);
            is(&parts(&column)[0], name) && (parts(&column).len() == 1 || is_bytes(i))
        };
        if let Some(&column) = all.iter().find(named) {
            return Ok(vec![column]);
        }
    }
    let structs: Vec<usize> = all.iter().copied().filter(is_bytes).collect();
    if let [only] = structs[..] {
        return Ok(vec![only]);
    }
    let plain = |i: &usize| {
        let column = schema.column(*i);
        parts(&column).len() == 1 && column.converted_type() != ConvertedType::UTF8
    };
    let plain: Vec<usize> = all.into_iter().filter(plain).collect();
    if plain.is_empty() || !structs.is_empty() {
        return Err(missing(schema));
    }
    Ok(plain)
}

/// The columns that go with an image column.
pub(super) fn with_image(schema: &SchemaDescriptor, image: usize) -> Columns {
    let image_parts = schema.column(image).path().parts().to_vec();
    let find = |wanted: &dyn Fn(&ColumnDescriptor) -> bool| {
        let fits = |i: &usize| schema.column(*i).max_rep_level() == 0 && wanted(&schema.column(*i));
        (0..schema.num_columns()).find(fits)
    };
    let path = find(&|column| {
        let beside = image_parts.len() == 2 && column.path().parts()[0] == image_parts[0];
        beside && parts(column)[1..] == ["path"] && column.physical_type() == Type::BYTE_ARRAY
    });
    let label = LABELS.iter().find_map(|name| {
        find(&|column| {
            let number = matches!(column.physical_type(), Type::INT32 | Type::INT64);
            number && parts(column).len() == 1 && is(&parts(column)[0], name)
        })
    });
    Columns { image, path, label }
}

/// Says that no column holds images.
pub(super) fn missing(schema: &SchemaDescriptor) -> String {
    let shown = |i: usize| {
        let column = schema.column(i);
        let list = if column.max_rep_level() > 0 { " in lists" } else { "" };
        format!("`{}` ({}{list})", column.path().string(), column.physical_type())
    };
    let mut columns: Vec<_> = (0..schema.num_columns().min(40)).map(shown).collect();
    if schema.num_columns() > columns.len() {
        columns.push("...".into());
    }
    format!(
        "no column of images: looked for `image` or `img`, a struct with `bytes`, or a binary column of image files; \
         there are {}",
        columns.join(", ")
    )
}

fn parts(column: &ColumnDescriptor) -> &[String] {
    column.path().parts()
}

fn is(name: &str, known: &str) -> bool {
    name.eq_ignore_ascii_case(known)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parquet::schema::parser::parse_message_type;

    use super::*;

    fn schema(fields: &str) -> SchemaDescriptor {
        let text = format!("message schema {{ {fields} }}");
        SchemaDescriptor::new(Arc::new(parse_message_type(&text).unwrap()))
    }

    #[test]
    fn columns_are_chosen_by_name_and_form() {
        for (fields, expected) in [
            (
                "optional int64 label; optional group img { optional binary bytes; optional binary path (UTF8); }",
                (1, Some(2), Some(0)),
            ),
            ("optional binary other; optional binary Image;", (1, None, None)),
            (
                "optional group photo { optional binary path (UTF8); optional binary bytes; } optional binary x; \
                 optional int32 fine_label; optional int32 coarse_label;",
                (1, Some(0), Some(3)),
            ),
            (
                "required binary jpg; optional binary text (UTF8); optional double label;",
                (0, None, None),
            ),
            (
                "repeated int64 label; optional int64 cls; required binary image;",
                (2, None, Some(1)),
            ),
        ] {
            let schema = schema(fields);
            let [image] = candidates(&schema).unwrap()[..] else { panic!("{fields}") };
            let Columns { image, path, label } = with_image(&schema, image);
            assert_eq!((image, path, label), expected, "{fields}");
        }
        let two = schema("required binary a; required binary b;");
        assert_eq!(candidates(&two).unwrap(), [0, 1]);
    }

    #[test]
    fn without_images_the_columns_are_listed() {
        let schema =
            schema("optional int64 label; optional binary text (UTF8); repeated binary images;");
        let message = candidates(&schema).unwrap_err();
        let list = "`label` (INT64), `text` (BYTE_ARRAY), `images` (BYTE_ARRAY in lists)";
        assert!(message.ends_with(list), "{message}");
    }
}
