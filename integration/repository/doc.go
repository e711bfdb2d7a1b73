// Package repository holds what concerns the repository itself and no user of
// the library: tests of its files, and, pinned in its go.mod, the tools that
// .ci/run builds. It is a module of its own, so that the tools' dependencies
// choose no version of what the module integration tests.
package repository
