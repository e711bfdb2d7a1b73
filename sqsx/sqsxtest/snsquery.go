package sqsxtest

import (
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/smithy-go"
)

// SNS speaks the query protocol: parameters in a form, XML in return.

const (
	snsVersion   = "2010-03-31"
	snsNamespace = "http://sns.amazonaws.com/doc/" + snsVersion + "/"
)

// form is the parameters of a request.
type form struct{ url.Values }

// snsForm returns the parameters of a request if it is one to SNS.
func snsForm(header http.Header, body []byte) (form, bool) {
	if !strings.HasPrefix(header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		return form{}, false
	}
	values, err := url.ParseQuery(string(body))
	if err != nil || values.Get("Version") != snsVersion {
		return form{}, false
	}
	return form{values}, true
}

func (f form) text(name string) string { return f.Get(name) }

// optional returns nil if there is no such parameter.
func (f form) optional(name string) *string {
	if !f.Has(name) {
		return nil
	}
	value := f.Get(name)
	return &value
}

// has reports whether there is a parameter of that name, or one inside it.
func (f form) has(name string) bool {
	for key := range f.Values {
		if key == name || strings.HasPrefix(key, name+".") {
			return true
		}
	}
	return false
}

// pairs reads a map: PREFIX.1.KEY, PREFIX.1.VALUE and so on.
func (f form) pairs(prefix, key, value string) map[string]string {
	all := make(map[string]string)
	for n := 1; f.Has(fmt.Sprintf("%s.%d.%s", prefix, n, key)); n++ {
		all[f.Get(fmt.Sprintf("%s.%d.%s", prefix, n, key))] = f.Get(fmt.Sprintf("%s.%d.%s", prefix, n, value))
	}
	return all
}

// attributes reads message attributes.
func (f form) attributes(prefix string) (map[string]attributeValue, error) {
	var all map[string]attributeValue
	for n := 1; f.Has(fmt.Sprintf("%s.%d.Name", prefix, n)); n++ {
		at := prefix + "." + strconv.Itoa(n) + "."
		v := attributeValue{DataType: f.Get(at + "Value.DataType"), StringValue: f.optional(at + "Value.StringValue")}
		if f.Has(at + "Value.BinaryValue") {
			b, err := base64.StdEncoding.DecodeString(f.Get(at + "Value.BinaryValue"))
			if err != nil {
				return nil, refusal("ParameterValueInvalid", "A Binary attribute is not base64.")
			}
			v.BinaryValue = b
		}
		if all == nil {
			all = make(map[string]attributeValue)
		}
		all[f.Get(at+"Name")] = v
	}
	return all, nil
}

func base64Text(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// members is a list as the query protocol writes it.
type members[T any] struct {
	Member []T `xml:"member"`
}

// entries is a map as the query protocol writes it.
type entries struct {
	Entry []entry `xml:"entry"`
}

type entry struct {
	Key   string `xml:"key"`
	Value string `xml:"value"`
}

func entriesOf(all map[string]string) entries {
	var e entries
	for _, key := range slices.Sorted(maps.Keys(all)) {
		e.Entry = append(e.Entry, entry{key, all[key]})
	}
	return e
}

// snsReply is the answer to a request that was carried out.
func (ex *exchange) snsReply(out any) *response {
	id := newUUID()
	var body strings.Builder
	body.WriteString("<" + ex.operation + `Response xmlns="` + snsNamespace + `">`)
	enc := xml.NewEncoder(&body)
	start := xml.StartElement{Name: xml.Name{Local: ex.operation + "Result"}}
	if out == nil {
		out = struct{}{}
	}
	if err := enc.EncodeElement(out, start); err != nil {
		// Outputs are plain structs of this package, which always encode.
		panic(fmt.Sprintf("sqsxtest: response of type %T: %v", out, err))
	}
	body.WriteString("<ResponseMetadata><RequestId>" + id + "</RequestId></ResponseMetadata></" + ex.operation + "Response>")
	return snsResponse(http.StatusOK, body.String(), id)
}

// snsRefuse is the answer to a request that was not.
func snsRefuse(err smithy.APIError, status int) *response {
	id := newUUID()
	type errorBody struct{ Type, Code, Message string }
	text, encodeErr := xml.Marshal(struct {
		XMLName   xml.Name `xml:"ErrorResponse"`
		Namespace string   `xml:"xmlns,attr"`
		Error     errorBody
		RequestId string
	}{Namespace: snsNamespace, Error: errorBody{faultName(err), snsCode(err), err.ErrorMessage()}, RequestId: id})
	if encodeErr != nil {
		panic(encodeErr) // strings always encode
	}
	return snsResponse(status, string(text), id)
}

// snsCode is the code of an error on the wire, from that or from the name of
// the SDK's type.
func snsCode(err smithy.APIError) string {
	switch code := err.ErrorCode(); code {
	case "AccessDenied", "AccessDeniedException":
		return "AuthorizationError"
	default:
		return strings.TrimSuffix(code, "Exception")
	}
}

// snsStatus is the HTTP status of an error, as the service's model has it.
func snsStatus(err smithy.APIError) int {
	switch snsCode(err) {
	case "AuthorizationError":
		return http.StatusForbidden
	case "NotFound":
		return http.StatusNotFound
	case "Throttled":
		return http.StatusTooManyRequests
	}
	return plainStatus(err)
}

func snsResponse(status int, body, id string) *response {
	return &response{
		status: status,
		header: http.Header{
			"Content-Type":     {"text/xml"},
			"Date":             {time.Now().UTC().Format(http.TimeFormat)},
			"X-Amzn-Requestid": {id},
		},
		body: []byte(body),
	}
}
