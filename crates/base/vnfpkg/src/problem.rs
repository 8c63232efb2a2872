//! What is wrong with a package, under codes that stay.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($name:ident $text:literal $status:literal $about:literal)*) => {
        /// The code of a [`Problem`]. The words are part of the interface and do not change.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Code { $(#[doc = $about] #[serde(rename = $text)] $name,)* }

        impl Code {
            /// Every code there is.
            pub const ALL: &[Code] = &[$(Code::$name,)*];

            /// As clients see it: `E-PATH`.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The HTTP status that says the same.
            #[must_use]
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// What it means, one sentence.
            #[must_use]
            pub fn about(self) -> &'static str {
                match self { $(Self::$name => $about,)* }
            }
        }
    };
}

codes! {
    Size "E-SIZE" 413 "More bytes than a limit allows."
    Empty "E-EMPTY" 422 "Nothing was sent."
    Timeout "E-TIMEOUT" 408 "The sender was too slow."
    Aborted "E-ABORTED" 422 "The sender went away in the middle."
    NoSpace "E-NOSPACE" 507 "The store has no room for it."
    Format "E-FORMAT" 415 "No archive of a known format."
    Truncated "E-TRUNCATED" 422 "The archive ends in the middle."
    Checksum "E-CHECKSUM" 422 "A checksum inside the archive does not fit."
    Trailing "E-TRAILING" 422 "Something follows the end of the archive."
    Bomb "E-BOMB" 422 "It unpacks to far more than it should."
    Encrypted "E-ENCRYPTED" 422 "An entry is encrypted."
    Ambiguous "E-AMBIGUOUS" 422 "Readers of archives would not agree on what this holds."
    ArchiveChanged "E-ARCHIVE-CHANGED" 422 "The archive was not the same when it was read again."
    Path "E-PATH" 422 "A path that is refused."
    NameEncoding "E-NAME-ENCODING" 422 "A name that is not UTF-8."
    Link "E-LINK" 422 "A link that leaves the package, turns in a circle, or leads to nothing."
    Type "E-TYPE" 422 "An entry that is no file, folder or link."
    Mode "E-MODE" 422 "A file with setuid, setgid or sticky."
    Duplicate "E-DUPLICATE" 422 "The same path twice."
    TooMany "E-TOO-MANY" 422 "Too many entries."
    TooDeep "E-TOO-DEEP" 422 "Folders nested too deep."
    NoDescriptor "E-NO-DESCRIPTOR" 422 "No lifecycle.json where it belongs."
    Json "E-JSON" 422 "The descriptor is no JSON."
    Schema "E-SCHEMA" 422 "A member of the descriptor has the wrong form."
    Name "E-NAME" 422 "The name is refused."
    Process "E-PROCESS" 422 "The name of the process is refused."
    Event "E-EVENT" 422 "An event that is not known."
    EventDuplicate "E-EVENT-DUPLICATE" 422 "An event is declared twice."
    ScriptMissing "E-SCRIPT-MISSING" 422 "A script is not in the archive."
    ScriptPath "E-SCRIPT-PATH" 422 "The path of a script is refused."
    ScriptType "E-SCRIPT-TYPE" 422 "A script that cannot be run."
    ScriptCrlf "E-SCRIPT-CRLF" 422 "A script whose first line ends in a carriage return."
    ScriptInterpreter "E-SCRIPT-INTERPRETER" 422 "The interpreter of a script is not an absolute path that exists."
    Digest "E-DIGEST" 422 "A file does not have the digest that the manifest names."
    Manifest "E-MANIFEST" 422 "The manifest and the files do not fit."
    ManifestRemote "E-MANIFEST-REMOTE" 422 "The manifest names a file elsewhere; nothing is fetched."
    Algorithm "E-ALGORITHM" 422 "A digest algorithm that is not accepted."
    Signature "E-SIGNATURE" 422 "The signature is missing or wrong."
    Untrusted "E-UNTRUSTED" 422 "Signed by a key that is not trusted for this name."
    User "E-USER" 422 "A user that does not exist or is not allowed."
    Env "E-ENV" 422 "An environment variable that is refused."
    Limits "E-LIMITS" 422 "A resource limit that makes no sense here."
    Dependency "E-DEPENDENCY" 422 "A package that is required is not there."
    Cycle "E-CYCLE" 422 "Packages require each other."
    Version "E-VERSION" 422 "A version that is no semantic version, or goes down."
    Exists "E-EXISTS" 409 "This version is here already, with other content."
    InUse "E-IN-USE" 409 "Something still uses it."
    Busy "E-BUSY" 409 "An operation of that name runs."
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    pub code: Code,
    /// For people, lower case, names the thing and the way out.
    pub detail: String,
    /// The member of the archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
    /// The place in the descriptor, as a JSON pointer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), entry: None, pointer: None }
    }

    #[must_use]
    pub fn entry(mut self, entry: impl Into<String>) -> Self {
        self.entry = Some(entry.into());
        self
    }

    #[must_use]
    pub fn pointer(mut self, pointer: impl Into<String>) -> Self {
        self.pointer = Some(pointer.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.code)?;
        if let Some(entry) = &self.entry {
            write!(f, "`{}`: ", entry.escape_debug())?;
        }
        if let Some(pointer) = &self.pointer {
            write!(f, "{pointer}: ")?;
        }
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Problem {}

/// Why a package is refused: everything that was found, the first one first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub problems: Vec<Problem>,
}

impl Refused {
    /// The code of the first problem.
    #[must_use]
    pub fn code(&self) -> Code {
        self.problems.first().map_or(Code::Format, |problem| problem.code)
    }
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.problems.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Refused {}
