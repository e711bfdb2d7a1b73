package drivers

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// answerTimeout bounds one answer. The slowest is a first request that makes a
// JVM load its classes on a busy machine.
const answerTimeout = 2 * time.Minute

// Keyring describes a keyring to a driver.
type Keyring struct {
	Type      string    `json:"type"`
	Namespace string    `json:"namespace,omitempty"`
	Name      string    `json:"name,omitempty"`
	Key       any       `json:"key,omitempty"`
	Endpoint  string    `json:"endpoint,omitempty"`
	Region    string    `json:"region,omitempty"`
	Generator *Keyring  `json:"generator,omitempty"`
	Children  []Keyring `json:"children,omitempty"`

	BranchKey string    `json:"branchKey,omitempty"`
	Store     *KeyStore `json:"store,omitempty"`
	Instance  string    `json:"instance,omitempty"`

	// LocaleSorting builds the JavaScript keyrings of raw AES keys and of branch
	// keys as their own default would; see the tests that need it. Others ignore
	// it.
	LocaleSorting bool `json:"localeSorting,omitempty"`
}

// RawAES describes a raw AES-256 wrapping key.
func RawAES(namespace, name string, key []byte) Keyring {
	return Keyring{Type: "raw-aes", Namespace: namespace, Name: name, Key: key}
}

// KMS describes a KMS key: an alias, an alias ARN, a key ID or a key ARN.
func KMS(key, endpoint, region string) Keyring {
	return Keyring{Type: "kms", Key: key, Endpoint: endpoint, Region: region}
}

// KMSDiscovery describes a KMS keyring that opens with whatever key a message
// names, and seals nothing. The command line tool and the Python master keys do
// not know it.
func KMSDiscovery(endpoint, region string) Keyring {
	return Keyring{Type: "kms-discovery", Endpoint: endpoint, Region: region}
}

// KeyStore describes a key store of branch keys.
type KeyStore struct {
	Table       string `json:"table"`
	LogicalName string `json:"logicalName"`
	Key         string `json:"key"` // the ARN of the KMS key that protects the branch keys
	Endpoint    string `json:"endpoint"`
	Region      string `json:"region"`
}

// BranchKey describes a new keyring of one branch key, which has cached nothing
// yet. The command line tool and the Python master keys do not know it.
func BranchKey(store KeyStore, id string) Keyring {
	return Keyring{Type: "branch-key", BranchKey: id, Store: &store, Instance: rand.Text()}
}

// Multi describes a multi-keyring.
func Multi(generator Keyring, children ...Keyring) Keyring {
	return Keyring{Type: "multi", Generator: &generator, Children: children}
}

// EncryptRequest is what to seal and how.
//
// Unusual messages, which sealq never writes, are for test vectors and made by
// the Python drivers only: those of one block, and those of format version 1,
// under suite "0178".
type EncryptRequest struct {
	Keyring   Keyring           `json:"keyring"`
	Suite     string            `json:"suite"`              // "0478" or "0578"; see Unusual
	Frame     int               `json:"frame,omitempty"`    // bytes; 0 is the SDK's default
	Unframed  bool              `json:"unframed,omitempty"` // one block; see Unusual
	Context   map[string]string `json:"context"`            // nil is empty
	Plaintext []byte            `json:"plaintext"`
}

// Opened is what a driver opened. The context includes the pair that a signed
// message adds.
type Opened struct {
	Plaintext []byte
	Context   map[string]string
}

// Refusal is an SDK's own no. Every other error of a driver is a fault of the
// test's machinery and proves nothing about the message.
type Refusal struct {
	SDK   string
	Class string // the SDK's exception type
	Text  string
}

// Error returns the SDK's own text.
func (r *Refusal) Error() string { return fmt.Sprintf("%s refuses: %s: %s", r.SDK, r.Class, r.Text) }

// Driver is a running SDK. It is safe for concurrent use, and answers one
// request at a time.
type Driver struct {
	SDK

	mu     sync.Mutex
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	stderr bytes.Buffer // read only after the process has ended
}

// Start starts the SDK's driver. The caller must call [Driver.Stop].
func (i Installed) Start() (*Driver, error) {
	if i.Err != nil {
		return nil, i.Err
	}
	arguments := i.arguments(i.dir)
	d := &Driver{SDK: i.SDK, cmd: exec.Command(arguments[0], arguments[1:]...)}
	d.cmd.Env = Environ()
	d.cmd.Stderr = &d.stderr
	var err error
	if d.in, err = d.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := d.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	d.out = bufio.NewReader(stdout)
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("drivers: start %s: %w", i.ID, err)
	}
	return d, nil
}

// Stop ends the driver, by force if it does not end by itself. The error tells
// of a driver that crashed, earlier or now, with what it wrote to standard
// error.
func (d *Driver) Stop() error {
	d.in.Close() // the end of its input ends a driver
	force := time.AfterFunc(time.Minute, func() { d.cmd.Process.Kill() })
	defer force.Stop()
	if err := d.cmd.Wait(); err != nil {
		return fmt.Errorf("drivers: %s ended with %w\n%s", d.ID, err, tail(d.stderr.Bytes()))
	}
	return nil
}

// Environ is the environment of every driver: the caller's, with credentials
// that are worth nothing, so that no driver can reach an account.
func Environ() []string {
	var env []string
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "AWS_") {
			env = append(env, pair)
		}
	}
	return append(env,
		"AWS_ACCESS_KEY_ID=test",
		"AWS_SECRET_ACCESS_KEY=test",
		"AWS_REGION=us-east-1",
		"AWS_DEFAULT_REGION=us-east-1",
		"AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE="+os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE="+os.DevNull,
		"AWS_REQUEST_CHECKSUM_CALCULATION=when_required",
	)
}

// Encrypt seals a message. An error is a [*Refusal] if it is the SDK's own.
func (d *Driver) Encrypt(req EncryptRequest) ([]byte, error) {
	if req.Context == nil {
		req.Context = map[string]string{}
	}
	if req.Plaintext == nil {
		req.Plaintext = []byte{}
	}
	a, err := d.ask(struct {
		Op string `json:"op"`
		EncryptRequest
	}{"encrypt", req})
	return a.Message, err
}

// Decrypt opens a message. An error is a [*Refusal] if it is the SDK's own.
func (d *Driver) Decrypt(kr Keyring, message []byte) (Opened, error) {
	a, err := d.ask(struct {
		Op      string  `json:"op"`
		Keyring Keyring `json:"keyring"`
		Message []byte  `json:"message"`
	}{"decrypt", kr, message})
	return Opened{a.Plaintext, a.Context}, err
}

// CreateKeyStore makes the table of a key store.
func (d *Driver) CreateKeyStore(store KeyStore) error {
	_, err := d.administer("create-key-store", store, "", nil)
	return err
}

// CreateBranchKey makes a branch key and returns its ID. Without an ID of the
// caller's it is a random UUID.
func (d *Driver) CreateBranchKey(store KeyStore, id string, context map[string]string) (string, error) {
	a, err := d.administer("create-branch-key", store, id, context)
	return a.BranchKey, err
}

// RotateBranchKey gives a branch key a new version.
func (d *Driver) RotateBranchKey(store KeyStore, id string) error {
	_, err := d.administer("rotate-branch-key", store, id, nil)
	return err
}

func (d *Driver) administer(op string, store KeyStore, id string, context map[string]string) (answer, error) {
	if context == nil {
		context = map[string]string{}
	}
	return d.ask(struct {
		Op        string            `json:"op"`
		Store     KeyStore          `json:"store"`
		BranchKey string            `json:"branchKey"`
		Context   map[string]string `json:"context"`
	}{op, store, id, context})
}

type answer struct {
	OK        bool              `json:"ok"`
	Message   []byte            `json:"message"`
	Plaintext []byte            `json:"plaintext"`
	Context   map[string]string `json:"context"`
	BranchKey string            `json:"branchKey"`
	Class     string            `json:"class"`
	Error     string            `json:"error"`
}

func (d *Driver) ask(request any) (answer, error) {
	line, err := json.Marshal(request)
	if err != nil {
		return answer{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	timer := time.AfterFunc(answerTimeout, func() { d.cmd.Process.Kill() })
	defer timer.Stop()
	if _, err := d.in.Write(append(line, '\n')); err != nil {
		return answer{}, fmt.Errorf("drivers: %s takes no request: %w", d.ID, err)
	}
	text, err := d.out.ReadBytes('\n')
	if err != nil {
		return answer{}, fmt.Errorf("drivers: %s gives no answer within %v: %w", d.ID, answerTimeout, err)
	}
	var a answer
	if err := json.Unmarshal(text, &a); err != nil {
		return answer{}, fmt.Errorf("drivers: %s answers nonsense: %w", d.ID, err)
	}
	if !a.OK {
		return answer{}, &Refusal{SDK: d.ID, Class: a.Class, Text: a.Error}
	}
	return a, nil
}
