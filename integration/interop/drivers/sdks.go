package drivers

import (
	"path/filepath"
)

// SDK is one implementation of the message format. The zero value is invalid.
type SDK struct {
	ID      string // for example "python-legacy": test names
	Name    string // for example "Python, master keys": the table of results
	Version string
	Pin     string // the text in the folder's manifest that pins Version

	// Differences that the tests assert, because they decide what sealq and
	// its users may write.
	RefusesFullFinalFrame bool // a last frame that is full and marked as last

	// IgnoresFinalFrameNumber: it does not read the number of the final frame,
	// and authenticates the one that it has counted itself.
	IgnoresFinalFrameNumber bool

	// BranchKeys: it has keyrings of branch keys, and creates and rotates them.
	BranchKeys bool

	// CreatesNoTable: it has no operation that makes the table of a key store.
	CreatesNoTable bool

	// ProcessPerMessage says that a message takes half a second: a test of
	// hundreds leaves most of them out.
	ProcessPerMessage bool

	environment *environment
	arguments   func(dir string) []string
}

// environment is what one installation provides. Several SDKs can share one.
type environment struct {
	folder   string // of the sources, and in the cache
	manifest string
	tools    []tool
	install  func(b *build) error
}

// tool is a program that must be on PATH.
type tool struct{ name, versionFlag, from string }

// All returns every SDK.
func All() []SDK {
	python := &environment{
		folder:   "python",
		manifest: "requirements.txt",
		tools:    []tool{{"python3", "--version", "Python 3.11 or later"}},
		install:  installPython,
	}
	cli := &environment{
		folder:   "cli",
		manifest: "requirements.txt",
		tools:    python.tools,
		install:  installPython,
	}
	javascript := &environment{
		folder:   "javascript",
		manifest: "package.json",
		tools:    []tool{{"node", "--version", "Node.js 20 or later"}, {"npm", "--version", "Node.js 20 or later"}},
		install:  installJavaScript,
	}
	java := &environment{
		folder:   "java",
		manifest: "pom.xml",
		tools:    []tool{{"javac", "-version", "a JDK, 17 or later"}, {"mvn", "--version", "Apache Maven 3.8 or later"}},
		install:  installJava,
	}
	golang := &environment{
		folder:   "go",
		manifest: "go.mod",
		tools:    []tool{{"go", "version", "Go"}},
		install:  installGo,
	}
	rust := &environment{
		folder:   "rust",
		manifest: "Cargo.toml",
		tools:    []tool{{"cargo", "--version", "Rust 1.94 or later"}, {"cc", "--version", "a C compiler"}},
		install:  installRust,
	}
	return []SDK{
		{
			ID: "python", Name: "Python", Version: "4.0.7", Pin: "aws-encryption-sdk==4.0.7",
			BranchKeys:  true,
			environment: python,
			arguments: func(dir string) []string {
				return []string{filepath.Join(dir, "venv/bin/python"), filepath.Join(dir, "src/driver.py"), "mpl"}
			},
		},
		{
			ID: "python-legacy", Name: "Python, master keys", Version: "4.0.7", Pin: "aws-encryption-sdk==4.0.7",
			environment: python,
			arguments: func(dir string) []string {
				return []string{filepath.Join(dir, "venv/bin/python"), filepath.Join(dir, "src/driver.py"), "legacy"}
			},
		},
		{
			ID: "javascript", Name: "JavaScript", Version: "5.0.2", Pin: `"@aws-crypto/client-node": "5.0.2"`,
			BranchKeys: true, CreatesNoTable: true,
			environment: javascript,
			arguments:   func(dir string) []string { return []string{"node", filepath.Join(dir, "src/driver.js")} },
		},
		{
			ID: "java", Name: "Java", Version: "3.0.2", Pin: "<version>3.0.2</version>",
			BranchKeys:              true,
			IgnoresFinalFrameNumber: true,
			environment:             java,
			arguments: func(dir string) []string {
				classPath := filepath.Join(dir, "classes") + string(filepath.ListSeparator) + filepath.Join(dir, "lib", "*")
				return []string{"java", "-cp", classPath, "Driver"}
			},
		},
		{
			ID: "go", Name: "Go", Version: "0.4.0", Pin: "releases/go/encryption-sdk v0.4.0",
			BranchKeys:  true,
			environment: golang,
			arguments:   func(dir string) []string { return []string{filepath.Join(dir, "driver")} },
		},
		{
			ID: "rust", Name: "Rust", Version: "1.2.4", Pin: `aws-esdk = "=1.2.4"`,
			BranchKeys:  true,
			environment: rust,
			arguments:   func(dir string) []string { return []string{filepath.Join(dir, "target/debug/interop-driver")} },
		},
		{
			ID: "cli", Name: "Command line", Version: "4.3.0", Pin: "aws-encryption-sdk-cli==4.3.0",
			RefusesFullFinalFrame: true, // it stands on release 3.3.1 of the Python SDK
			ProcessPerMessage:     true,
			environment:           cli,
			arguments: func(dir string) []string {
				return []string{filepath.Join(dir, "venv/bin/python"), filepath.Join(dir, "src/driver.py")}
			},
		},
	}
}

// Manifest is the path of the file that pins the SDK, relative to this package.
func (s SDK) Manifest() string { return filepath.Join(s.environment.folder, s.environment.manifest) }
