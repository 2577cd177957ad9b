//! The repository and branch that are pushed to: looked for, and made where they are not there.

use serde::Serialize;
use serde::de::IgnoredAny;

use super::PushOptions;
use crate::refusal::Subject;
use crate::submit::JSON;
use crate::{Error, Hub, Reference, Repo, Result, path};

/// The branch that a new repository has.
const FIRST_BRANCH: &str = "main";

#[derive(Serialize)]
struct NewRepo<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    organization: Option<&'a str>,
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    private: Option<bool>,
}

#[derive(Serialize)]
struct NewBranch {}

impl Hub {
    /// Makes sure that there is something to push to; whether the repository was made.
    pub(super) fn make_ready(&self, reference: &Reference, options: &PushOptions) -> Result<bool> {
        let retry = &self.http.retry;
        match self.info_online(reference, retry) {
            Ok(info) => {
                check_privacy(reference.repo(), info.private, options)?;
                return Ok(false);
            }
            Err(Error::RepoNotFound { .. } | Error::RevisionNotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        let first = reference.clone().with_revision(FIRST_BRANCH)?;
        let (info, created) = match self.info_online(&first, retry) {
            Err(Error::RepoNotFound { .. }) => {
                let conflict = self.create_repo(&first, options)?;
                match (self.info_online(&first, retry), conflict) {
                    // It was not this repository that is in the way.
                    (Err(Error::RepoNotFound { .. }), Some(conflict)) => return Err(conflict),
                    (info, conflict) => (info?, conflict.is_none()),
                }
            }
            info => (info?, false),
        };
        // Before anything of it is sent.
        check_privacy(reference.repo(), info.private, options)?;
        if reference.revision() != FIRST_BRANCH {
            self.create_branch(reference)?;
        }
        Ok(created)
    }

    /// Makes the repository; what is in the way, if somebody was faster.
    fn create_repo(&self, reference: &Reference, options: &PushOptions) -> Result<Option<Error>> {
        let repo = reference.repo();
        let (organization, name) = match repo.id().split_once('/') {
            Some((organization, name)) => (Some(organization), name),
            None => (None, repo.id()),
        };
        let kind = repo.kind().to_string();
        let body = NewRepo { name, organization, kind, private: options.private };
        let url = format!("{}/api/repos/create", self.endpoint());
        self.make(reference, &url, &body)
    }

    fn create_branch(&self, reference: &Reference) -> Result<()> {
        let (repo, branch) = (reference.repo(), reference.revision());
        if branch.starts_with("refs/") {
            return Err(Error::RevisionNotFound {
                repo: repo.clone(),
                revision: branch.to_owned(),
            });
        }
        let url = self.api_url(repo, "branch", branch);
        self.make(reference, &url, &NewBranch {}).map(|_| ())
    }

    /// Makes something, or says that it is there already by the Hub's conflict.
    fn make(
        &self,
        reference: &Reference,
        url: &str,
        body: &impl Serialize,
    ) -> Result<Option<Error>> {
        match self.http.post::<IgnoredAny>(url, JSON, body, &Subject::writing(reference)) {
            Ok(_) => Ok(None),
            Err(conflict @ Error::Conflict { .. }) => Ok(Some(conflict)),
            Err(error) => Err(error),
        }
    }

    /// An address of the Hub's interface about a revision of a repository.
    pub(super) fn api_url(&self, repo: &Repo, what: &str, revision: &str) -> String {
        let (kind, id) = (repo.kind().plural(), repo.id());
        let revision = path::encode_segment(revision);
        format!("{}/api/{kind}/{id}/{what}/{revision}", self.endpoint())
    }
}

/// What is to be private does not go where everybody can read it.
fn check_privacy(repo: &Repo, private: Option<bool>, options: &PushOptions) -> Result<()> {
    if options.private != Some(true) || private == Some(true) {
        return Ok(());
    }
    let reason = "it is public, a private repository was asked for; nothing was sent".into();
    Err(Error::Push { repo: repo.clone(), reason })
}
