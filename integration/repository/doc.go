// Package repository has tests of the repository's own files, which do not
// concern users of the library. Its go.mod pins the tools that .ci/run builds.
// It is a separate module, so that the tools' dependencies do not change the
// versions that the module integration tests.
package repository
