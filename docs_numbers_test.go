package sealq_test

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A statement is a sentence or a table row of a document in which each
// {package.constant} stands for the value of that constant, as a number
// ("1,024", "2^32", "three"), or as a number and a unit ("10 seconds"). "…"
// stands for text that does not matter, within one cell. The values in the
// document must be those of the code: a number is never looked for elsewhere in
// the page.
type statement struct{ doc, text string }

// statements are all of them. TestEveryLimitIsDocumented says which constants
// need one.
var statements = []statement{
	{"docs/format.md", "| encrypted data keys | {envelope.maxWrittenKeys} | {envelope.maxReadKeys} |"},
	{"docs/format.md", "| provider ID, bytes | {envelope.maxProviderID} | {envelope.maxProviderID} |"},
	{"docs/format.md", "| provider info, bytes | {envelope.maxProviderInfo} | {envelope.maxProviderInfo} |"},
	{"docs/format.md", "| encrypted data key, bytes | {envelope.maxKeyCiphertext} | {envelope.maxKeyCiphertext} |"},
	{"docs/format.md", "| context pairs, without `aws-crypto-public-key` | {sqsx.maxContextPairs} and `sealq:queue` | {envelope.maxContextPairs} |"},
	{"docs/format.md", "| context name or value, bytes | {sqsx.maxContextBytes} | within the serialized context |"},
	{"docs/format.md", "| serialized context, bytes, without `aws-crypto-public-key` | {envelope.maxContextBytes} | {envelope.maxContextBytes} |"},
	{"docs/format.md", "| header, bytes | {envelope.maxHeader} | {envelope.maxHeader} |"},
	{"docs/format.md", "| frames | {envelope.maxFrames} | {envelope.maxFrames} |"},
	{"docs/format.md", "| signature, bytes | | {envelope.maxSignature} |"},
	{"docs/format.md", "The {sqsx.maxContextPairs} pairs and {sqsx.maxContextBytes} bytes are limits of `sqsx`"},
	{"docs/format.md", "unless the header takes over {envelope.maxHeader} bytes"},
	{"docs/format.md", "a signature of more than {envelope.maxSignature} bytes"},
	{"docs/format.md", "| frame length | 4 | {envelope.frameLength}. With"},

	{"docs/options.md", "| `DeduplicationKey` | {sqsx.minDeduplicationKey} bytes or more:"},
	{"docs/options.md", "| `MaxMessageBytes` | …, in bytes, {sqsx.minQueueMessageBytes} to {sqsx.serviceMaxMessageBytes}: … | {sqsx.serviceMaxMessageBytes}; of a topic {sqsx.topicMaxMessageBytes} |"},
	{"docs/sns.md", "A topic takes **{sqsx.topicMaxMessageBytes} bytes**, attributes included, unless its attribute `MaximumMessageSize` says otherwise, up to {sqsx.serviceMaxMessageBytes}."},
	{"docs/sns.md", "a message with more than {snsx.maxAttributes} attributes"},
	{"docs/options.md", "| `ReusePeriod` | …, {cache.minReusePeriod} to {cache.maxReusePeriod}; … | {cache.DefaultReusePeriod} |"},
	{"docs/options.md", "| `MaxMessages` | …, 1 to {cache.maxMaxMessages} | {cache.DefaultMaxMessages} |"},
	{"docs/options.md", "| `MaxStale` | … | {cache.DefaultMaxStale} |"},
	{"docs/options.md", "| `EncryptEntries` | …, 1 to {cache.maxEntries} | {cache.DefaultEncryptEntries} |"},
	{"docs/options.md", "| `DecryptEntries` | …, 1 to {cache.maxEntries} | {cache.DefaultDecryptEntries} |"},
	{"docs/options.md", "| `NegativeEntries` | …, 1 to {cache.maxEntries} | {cache.DefaultNegativeEntries} |"},
	{"docs/options.md", "| `FetchTimeout` | …, {cache.minFetchTimeout} to {cache.maxFetchTimeout} | {cache.DefaultFetchTimeout} |"},
	{"docs/options.md", "| `AliasPeriod` | …, {kmskeyring.minAliasPeriod} to {kmskeyring.maxAliasPeriod} | {kmskeyring.DefaultAliasPeriod} |"},
	{"docs/options.md", "| `GrantTokens` | passed to KMS with every call, at most {awscall.maxGrantTokens}, each of at most {awscall.maxGrantToken} bytes |"},

	{"docs/operations.md", "| … | before the first receive of a process …, at most once in {hold.minPause}. A question takes {hold.askTimeout} at most."},
	{"docs/operations.md", "| a held receive | …, {hold.shortPollWait} at least and {hold.maxWait} at most)"},
	{"docs/operations.md", "| asked again | after pauses that double from {hold.minPause} to {hold.maxPause},"},
	{"docs/operations.md", "| not held | a consumer that opened a message in the last {hold.bridgeFor},"},
	{"docs/operations.md", "| KMS kept it from opening | {hold.keyParking}, then 30, then {hold.maxParking},"},
	{"docs/operations.md", "| … and KMS says yes | … it is repeated once, after {hold.takeBackPause} |"},
	{"docs/operations.md", "or junk | {hold.invalidParking}, then 40, then {hold.maxParking} |"},
	{"docs/operations.md", "never parked for more than an {hold.retentionShare} of its remaining retention"},
	{"docs/operations.md", "One process parks at most {hold.maxParked} messages of a queue"},
	{"docs/operations.md", "reads the queue's settings once in {hold.attributesAge} (`sqs:GetQueueAttributes`)"},
	{"docs/operations.md", "and tried again after {hold.retryDenied}. Requests that fail for another reason are given up, after {hold.visibilityTimeout} at most. Settings that could not be read are read again after {hold.retryFailed}."},
	{"docs/operations.md", "steps back after it has seen {hold.stepBackAfter} messages … in the last {hold.justSent}:"},
	{"docs/operations.md", "after pauses that double from {hold.minPause} to {hold.maxPause}, waits at most {hold.stepBackWait} for it, and parks none; in between, receives fail with `sqsx.ErrHeld`. A message that is older at its first receive ends that, and so do {hold.oldInARow} older messages in a row"},
	{"docs/operations.md", "(from a long poll before to {hold.returnSlack} after, for each such group)"},
	{"docs/operations.md", "or {hold.groupMemory} after the message was last seen."},

	{"docs/operations.md", "| a cached data key | … until `MaxStale` ({cache.DefaultMaxStale}) after it was last fetched |"},
	{"docs/operations.md", "asks KMS again, for {cache.probeTimeout} at most, after pauses that double from {cache.minRetry} to {cache.maxRetry}."},
	{"docs/operations.md", "| retries | …, after pauses that double from {cache.minRetry} to {cache.maxRetry}, with jitter."},
	{"docs/operations.md", "waits for one attempt ({awscall.CallTimeout} at most), then uses the cached data key |"},
	{"docs/operations.md", "| no data key that opened a message in the last {hold.bridgeFor} is cached | nothing is received"},
	{"docs/operations.md", "at most {cache.maxRetry} later, without a restart |"},
	{"docs/operations.md", "an attempt at KMS ends after {awscall.AttemptTimeout}, a call with its two attempts after {awscall.CallTimeout}, a fetch of the cache after {cache.DefaultFetchTimeout} (`FetchTimeout`), and the opening of one response after {sqsx.openTimeout}."},
	{"docs/operations.md", "within `ReusePeriod` ({cache.DefaultReusePeriod}) of the change, for a key in use |"},
	{"docs/operations.md", "| how often KMS is asked again | …, down to every {cache.maxRefusal}."},
	{"docs/operations.md", "the next question returns a data key: within {cache.maxRefusal}, or"},
	{"docs/operations.md", "| limit of SQS | {sqsx.serviceMaxMessageBytes} bytes a message and a batch"},
	{"docs/operations.md", "| `SEALQ_REUSE_PERIOD` | seconds a data key is used, {cache.minReusePeriod} to {cache.maxReusePeriod} | {cache.DefaultReusePeriod} |"},
	{"docs/operations.md", "| `SEALQ_MAX_STALE` | … | {cache.DefaultMaxStale} |"},

	{"docs/faults.md", "A call waits at most {awscall.CallTimeout} for KMS (`kmskeyring.CallTimeout`), and a receive at most {sqsx.openTimeout} for all of its messages."},

	{"docs/security.md", "SNS notifications are read {sqsx.maxSNSDepth} levels deep"},
	{"docs/security.md", "| encrypted data keys | {envelope.maxReadKeys}; a message with more"},
	{"docs/security.md", "is remembered, with its context: for {kmskeyring.factPeriod}, the longest visibility timeout, or for {kmskeyring.refusalPeriod} if"},
	{"docs/security.md", "A process makes {kmskeyring.failuresPerSecond} such failing calls a second, after the first {kmskeyring.failureBurst}."},
	{"docs/security.md", "it is asked again at most once a second, later once in {cache.maxRefusal}"},
	{"docs/security.md", "| memory for a flood | the cache's bounds: {cache.DefaultNegativeEntries} failures"},
	{"docs/security.md", "it is parked, at most {hold.maxParked} by each process."},
	{"docs/security.md", "after {hold.stepBackAfter} junk messages in a row that were sent in the last {hold.justSent}, until it receives older messages"},
	{"docs/security.md", "for at most {branchkey.maxLookUps} versions of a message, and no call of KMS. A process looks up {branchkey.failuresPerSecond} such versions a second, after the first {branchkey.failureBurst}, and remembers each for {cache.minRefusal}, doubling to {cache.maxRefusal}. A version beyond that waits for its turn, up to {branchkey.turnPatience}; then the message is withheld as `Temporary`. So is one whose version the first read did not find, if {branchkey.confirmsPerSecond} others a second, after the first {branchkey.confirmBurst}, had the second, consistent read."},
	{"docs/operations.md", "it names more than {branchkey.maxLookUps} versions"},
	{"docs/branch-keys.md", "within `ReusePeriod` ({cache.DefaultReusePeriod})."},
	{"docs/branch-keys.md", "The ID names the branch key for ever: 1 to {branchkey.maxID} bytes."},
	{"docs/operations.md", "cached branch keys stay in use, for `MaxStale` ({cache.DefaultMaxStale}) after they were last fetched."},
	{"docs/security.md", "within `ReusePeriod`, {cache.DefaultReusePeriod} by default, {cache.maxReusePeriod} at most |"},
	{"docs/security.md", "| after `MaxStale`, {cache.DefaultMaxStale} by default |"},
	{"docs/security.md", "a cached data key is used for {cache.DefaultMaxStale} while KMS is unreachable"},

	{"docs/cost.md", "one `FetchTimeout` (default {cache.DefaultFetchTimeout}) before the `ReusePeriod` (default {cache.DefaultReusePeriod}) ends"},
	{"docs/cost.md", "in every `AliasPeriod` ({kmskeyring.DefaultAliasPeriod}) in which it opens a message"},
	{"docs/cost.md", "at most {kmskeyring.failuresPerSecond} calls a second, after the first {kmskeyring.failureBurst}."},
	{"docs/cost.md", "at its default of {cache.DefaultMaxMessages} it renews no data key."},
	{"docs/cost.md", "two `GetItem` for each, at most {branchkey.maxLookUps}, and no call of KMS. All such messages together look up at most {branchkey.failuresPerSecond} versions a second, after the first {branchkey.failureBurst}."},
	{"docs/key-gone.md", "{cache.DefaultReusePeriod} is the default `ReusePeriod`."},
	{"docs/key-gone.md", "sends go on within {cache.maxRefusal} and held receives within {hold.maxPause}, without a restart."},
	{"docs/key-gone.md", "| how soon | sends within {cache.maxRefusal} (…), held receives within {hold.maxPause},"},
	{"README.md", "goes on with the data keys that it has cached, for {cache.DefaultMaxStale}."},
	{"README.md", "| a data key is reused for | … | … | {cache.minReusePeriod} to {cache.maxReusePeriod}, default {cache.DefaultReusePeriod} |"},
	{"docs/comparison.md", "| a data key is reused for | … | … | {cache.minReusePeriod} to {cache.maxReusePeriod}, default {cache.DefaultReusePeriod} |"},
}

var (
	placeholder = regexp.MustCompile(`\\\{(\w+)\\\.(\w+)\\\}`) // quoted by regexp.QuoteMeta
	quantity    = `((?:[\d,]+|\d+\^\d+|[a-zA-Z]+)(?: (?:millisecond|second|minute|hour)s?)?)`
	whiteSpace  = regexp.MustCompile(`\s+`)
)

// TestNumbersInDocuments compares each statement with its document.
func TestNumbersInDocuments(t *testing.T) {
	t.Parallel()
	code := constants(t)
	docs := documents(t)
	for doc, text := range docs {
		docs[doc] = whiteSpace.ReplaceAllString(text, " ")
	}
	for _, s := range statements {
		quoted := regexp.QuoteMeta(s.text)
		names := placeholder.FindAllStringSubmatch(quoted, -1)
		pattern := strings.ReplaceAll(placeholder.ReplaceAllString(quoted, quantity), "…", "[^|]*?")
		if strings.HasPrefix(s.text, "| … and KMS") {
			pattern = strings.Replace(pattern, "[^|]*?", "…", 1) // the row's own
		}
		found := regexp.MustCompile(pattern).FindStringSubmatch(docs[s.doc])
		if found == nil {
			t.Errorf("%s does not say: %s", s.doc, s.text)
			continue
		}
		for i, name := range names {
			want, ok := code[name[1]+"."+name[2]]
			if !ok {
				t.Errorf("%s: %s.%s is no constant", s.doc, name[1], name[2])
			} else if got, ok := parseQuantity(found[i+1], want.duration); !ok || got != want.value {
				t.Errorf("%s says %q for %s.%s, which is %s, in: %s", s.doc, found[i+1], name[1], name[2], want, s.text)
			}
		}
	}
}

// TestEveryLimitIsDocumented wants a statement for each limit of a message,
// each bound and default of an option, and each time of the hold.
func TestEveryLimitIsDocumented(t *testing.T) {
	t.Parallel()
	said := make(map[string]bool)
	for _, s := range statements {
		for _, m := range placeholder.FindAllStringSubmatch(regexp.QuoteMeta(s.text), -1) {
			said[m[1]+"."+m[2]] = true
		}
	}
	private := map[string]string{
		"hold.idleQueue":  "when an unused queue makes room for another",
		"hold.backMemory": "how long a message that was taken back is remembered",
	}
	wanted := 0
	for name, c := range constants(t) {
		file := filepath.ToSlash(c.file)
		needed := file == "envelope/limits.go" || file == "cache/options.go" || file == "envelope/kmskeyring/options.go" ||
			strings.HasPrefix(file, "sqsx/internal/hold/") && c.duration
		if !needed || name == "cache.NoStale" || name == "cache.Unlimited" {
			continue
		}
		wanted++
		if reason, ok := private[name]; said[name] == ok {
			t.Errorf("%s: %s is in a statement: %t; private: %q. Want one of the two", file, name, said[name], reason)
		}
	}
	if wanted < 40 {
		t.Errorf("found %d constants, want at least 40: the test looks in the wrong place", wanted)
	}
}

// parseQuantity reads "1,024", "2^32", "three", "an eighth" and "10 seconds"; a
// duration without a unit is in seconds.
func parseQuantity(s string, duration bool) (float64, bool) {
	number, unit, _ := strings.Cut(s, " ")
	words := map[string]float64{"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "eighth": 8, "ten": 10}
	value, isWord := words[strings.ToLower(number)]
	if !isWord {
		base, exponent, power := strings.Cut(strings.ReplaceAll(number, ",", ""), "^")
		n, err := strconv.ParseFloat(base, 64)
		if err != nil {
			return 0, false
		}
		if value = n; power {
			e, err := strconv.ParseFloat(exponent, 64)
			if err != nil {
				return 0, false
			}
			value = math.Pow(n, e)
		}
	}
	if !duration {
		return value, unit == ""
	}
	units := map[string]time.Duration{"": time.Second, "millisecond": time.Millisecond, "second": time.Second, "minute": time.Minute, "hour": time.Hour}
	return value * float64(units[strings.TrimSuffix(unit, "s")]), true
}

// codeConstant is a constant of the module that is a number.
type codeConstant struct {
	file     string
	value    float64
	duration bool
}

func (c codeConstant) String() string {
	if c.duration {
		return time.Duration(c.value).String()
	}
	return fmt.Sprint(int64(c.value))
}

// constants returns the numeric constants of the packages that the documents
// speak of, by package and name.
func constants(t *testing.T) map[string]codeConstant {
	t.Helper()
	found := make(map[string]codeConstant)
	for _, dir := range []string{"envelope", "envelope/kmskeyring", "envelope/branchkey", "cache", "sqsx", "sqsx/internal/hold", "sqsx/snsx", "internal/awscall"} {
		fset := token.NewFileSet()
		var files []*ast.File
		names, err := filepath.Glob(filepath.Join(filepath.FromSlash(dir), "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(fset, name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, file)
		}
		// Constants need no other import than time and math. Errors of what does
		// are of no interest.
		config := types.Config{Importer: fewImports{}, Error: func(error) {}, IgnoreFuncBodies: true}
		pkg, _ := config.Check(dir, fset, files, nil)
		for _, name := range pkg.Scope().Names() {
			c, ok := pkg.Scope().Lookup(name).(*types.Const)
			if !ok || c.Val().Kind() != constant.Int {
				continue
			}
			duration := c.Type().String() == "time.Duration"
			if _, plain := c.Type().(*types.Basic); !plain && !duration {
				continue // one of an enumeration
			}
			value, _ := constant.Float64Val(constant.ToFloat(c.Val()))
			found[pkg.Name()+"."+name] = codeConstant{
				file:     fset.Position(c.Pos()).Filename,
				value:    value,
				duration: duration,
			}
		}
	}
	if len(found) < 60 {
		t.Fatalf("found %d constants, want at least 60: %v", len(found), slices.Sorted(maps.Keys(found)))
	}
	return found
}

// fewImports has time.Duration with its units, math.MaxInt64, and empty
// packages.
type fewImports struct{}

func (fewImports) Import(path string) (*types.Package, error) {
	pkg := types.NewPackage(path, path[strings.LastIndex(path, "/")+1:])
	pkg.MarkComplete()
	declare := func(name string, typ types.Type, value int64) {
		pkg.Scope().Insert(types.NewConst(token.NoPos, pkg, name, typ, constant.MakeInt64(value)))
	}
	switch path {
	case "time":
		name := types.NewTypeName(token.NoPos, pkg, "Duration", nil)
		duration := types.NewNamed(name, types.Typ[types.Int64], nil)
		pkg.Scope().Insert(name)
		for unit, value := range map[string]time.Duration{
			"Nanosecond": time.Nanosecond, "Microsecond": time.Microsecond, "Millisecond": time.Millisecond,
			"Second": time.Second, "Minute": time.Minute, "Hour": time.Hour,
		} {
			declare(unit, duration, int64(value))
		}
	case "math":
		declare("MaxInt64", types.Typ[types.UntypedInt], math.MaxInt64)
	}
	return pkg, nil
}
