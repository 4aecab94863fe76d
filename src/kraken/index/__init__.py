"""The index: which manifest a tag of a repository means, and which manifests a repository has."""
