//! What all `session` events of one target and poll have in common, as JSON. It is most
//! of each line, and serde_json checks each of its bytes for characters to escape.
//! Writing it once saves a fifth of all that `transform` does.

use serde::Serialize;

use super::{id::EventId, kinds::Event};

/// The JSON of an event without keys of its own, in two parts.
#[derive(Clone, Debug)]
pub struct Frame {
    before_id: String,
    /// Without the closing bracket.
    behind_id: String,
}

/// In place of an event's own keys.
#[derive(Serialize)]
pub struct NoKeys {}

impl Frame {
    /// The frame of events that differ from this one only in their ids and own keys.
    pub fn of(event: &Event<'_, NoKeys>) -> Self {
        let json = serde_json::to_string(event).expect("texts and maps of them are JSON");
        let id = event.event_id.to_string();
        // Time and kind come before it, and neither looks like an id.
        let (before, behind) = json.split_once(&id).expect("the id stands in the event");
        let behind = behind.strip_suffix('}').expect("an event is an object");
        Self { before_id: before.to_owned(), behind_id: behind.to_owned() }
    }

    /// Writes the event with this id and these keys.
    ///
    /// # Errors
    /// Where the keys are no JSON object.
    pub fn write(
        &self,
        bytes: &mut Vec<u8>,
        id: EventId,
        keys: &impl Serialize,
    ) -> serde_json::Result<()> {
        bytes.extend_from_slice(self.before_id.as_bytes());
        bytes.extend_from_slice(&id.digits());
        bytes.extend_from_slice(self.behind_id.as_bytes());
        let own = bytes.len();
        serde_json::to_writer(&mut *bytes, keys)?;
        // Where there are none, `{}`.
        if bytes.len() - own == 2 {
            bytes.remove(own);
        } else {
            bytes[own] = b',';
        }
        Ok(())
    }
}
