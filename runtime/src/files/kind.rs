//! What a file is, by the end of its name, and the other way round. The table has what chats show in a way of its own, and
//! what agents hand out most; anything else is bytes.

/// Ends of names with their media types. Of several ends of one type the first is given to files that have no name.
const KINDS: [(&str, &str); 28] = [
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("png", "image/png"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("svg", "image/svg+xml"),
    ("ogg", "audio/ogg"),
    ("oga", "audio/ogg"),
    ("opus", "audio/ogg"),
    ("mp3", "audio/mpeg"),
    ("m4a", "audio/mp4"),
    ("wav", "audio/wav"),
    ("mp4", "video/mp4"),
    ("webm", "video/webm"),
    ("txt", "text/plain"),
    ("log", "text/plain"),
    ("md", "text/markdown"),
    ("csv", "text/csv"),
    ("html", "text/html"),
    ("json", "application/json"),
    ("pdf", "application/pdf"),
    ("zip", "application/zip"),
    ("gz", "application/gzip"),
    ("xml", "application/xml"),
    ("bin", BYTES),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
];
/// The type of what is of no known type.
const BYTES: &str = "application/octet-stream";

/// The media type of a file of this name.
#[must_use]
pub fn media_type(name: &str) -> &'static str {
    let end = name.rsplit_once('.').map_or(String::new(), |(_, end)| end.to_ascii_lowercase());
    KINDS.iter().find(|(known, _)| *known == end).map_or(BYTES, |(_, kind)| kind)
}

/// How the name of a file of this type ends, without the dot.
#[must_use]
pub fn ending(media_type: &str) -> &'static str {
    let bare = media_type.split(';').next().unwrap_or_default().trim();
    KINDS.iter().find(|(_, kind)| *kind == bare).map_or("bin", |(end, _)| end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_a_file_is_and_a_type_how_it_ends() {
        assert_eq!(media_type("a.PNG"), "image/png");
        assert_eq!(
            (media_type("archive.tar.gz"), media_type("README"), media_type(".")),
            ("application/gzip", BYTES, BYTES)
        );
        assert_eq!((ending("image/jpeg"), ending("audio/ogg; codecs=opus"), ending("x/y")), ("jpg", "ogg", "bin"));
    }
}
