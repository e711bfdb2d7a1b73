package sqsxtest

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

type kmsKeyRef struct{ account, region, id string }

func (r kmsKeyRef) arn() string {
	return "arn:" + partitionOf(r.region) + ":kms:" + r.region + ":" + r.account + ":key/" + r.id
}

// kmsKey is one key in one Region. The replicas of a multi-Region key have
// states, descriptions, policies, tags and grants of their own and share id and
// material.
type kmsKey struct {
	kmsKeyRef
	description string
	created     time.Time
	state       types.KeyState
	deletion    time.Time // set while the state is PendingDeletion
	pendingDays int32
	usage       types.KeyUsageType
	spec        types.KeySpec
	material    *kmsMaterial
	multiRegion bool
	primary     string // the Region of the primary, of a multi-Region key
	policy      string
	tags        map[string]string
	grants      []*kmsGrant // oldest first
}

// replica reports whether the key is a multi-Region key and not the primary.
func (key *kmsKey) replica() bool { return key.multiRegion && key.region != key.primary }

func (key *kmsKey) symmetric() bool {
	return key.spec == types.KeySpecSymmetricDefault && key.usage == types.KeyUsageTypeEncryptDecrypt
}

type kmsKeyMetadata struct {
	KeyID                    string `json:"KeyId"`
	AccountID                string `json:"AWSAccountId"`
	Arn                      string
	CreationDate             *kmsTime
	CurrentKeyMaterialID     string `json:"CurrentKeyMaterialId,omitempty"`
	CustomerMasterKeySpec    types.KeySpec
	DeletionDate             *kmsTime `json:",omitempty"`
	Description              string
	Enabled                  bool
	EncryptionAlgorithms     []types.EncryptionAlgorithmSpec `json:",omitempty"`
	KeyManager               types.KeyManagerType
	KeySpec                  types.KeySpec
	KeyState                 types.KeyState
	KeyUsage                 types.KeyUsageType
	MacAlgorithms            []types.MacAlgorithmSpec `json:",omitempty"`
	MultiRegion              bool
	MultiRegionConfiguration *kmsMultiRegion `json:",omitempty"`
	Origin                   types.OriginType
	PendingDays              int32 `json:"PendingDeletionWindowInDays,omitempty"`
}

type kmsMultiRegion struct {
	MultiRegionKeyType types.MultiRegionKeyType
	PrimaryKey         kmsMultiRegionKey
	ReplicaKeys        []kmsMultiRegionKey
}

type kmsMultiRegionKey struct{ Arn, Region string }

// relatives returns every Region's copy of a multi-Region key, key included,
// sorted by Region.
func (k *kmsService) relatives(key *kmsKey) []*kmsKey {
	var all []*kmsKey
	for _, other := range k.keys {
		if other.account == key.account && other.id == key.id && partitionOf(other.region) == partitionOf(key.region) {
			all = append(all, other)
		}
	}
	slices.SortFunc(all, func(a, b *kmsKey) int { return cmp.Compare(a.region, b.region) })
	return all
}

func (k *kmsService) metadata(key *kmsKey) kmsKeyMetadata {
	m := kmsKeyMetadata{
		KeyID: key.id, AccountID: key.account, Arn: key.arn(),
		CreationDate: kmsTimeOf(key.created), Description: key.description,
		Enabled: key.state == types.KeyStateEnabled, KeyState: key.state,
		KeyManager: types.KeyManagerTypeCustomer, Origin: types.OriginTypeAwsKms,
		KeyUsage: key.usage, KeySpec: key.spec, CustomerMasterKeySpec: key.spec,
		MultiRegion: key.multiRegion,
	}
	if key.symmetric() {
		m.EncryptionAlgorithms = []types.EncryptionAlgorithmSpec{types.EncryptionAlgorithmSpecSymmetricDefault}
		m.CurrentKeyMaterialID = key.material.currentID()
	}
	if a := kmsMACAlgorithm(key.spec); a != "" {
		m.MacAlgorithms = []types.MacAlgorithmSpec{a}
	}
	switch key.state {
	case types.KeyStatePendingDeletion:
		m.DeletionDate = kmsTimeOf(key.deletion)
	case types.KeyStatePendingReplicaDeletion:
		m.PendingDays = key.pendingDays
	}
	if key.multiRegion {
		config := &kmsMultiRegion{MultiRegionKeyType: types.MultiRegionKeyTypeReplica, ReplicaKeys: []kmsMultiRegionKey{}}
		if key.region == key.primary {
			config.MultiRegionKeyType = types.MultiRegionKeyTypePrimary
		}
		for _, other := range k.relatives(key) {
			entry := kmsMultiRegionKey{Arn: other.arn(), Region: other.region}
			if other.region == key.primary {
				config.PrimaryKey = entry
			} else {
				config.ReplicaKeys = append(config.ReplicaKeys, entry)
			}
		}
		m.MultiRegionConfiguration = config
	}
	return m
}

// sweep lets time do its work: it removes the keys whose waiting period has
// ended, and rotates those whose day has come. There is no timer: a key that
// nobody asks for may stay in memory.
func (k *kmsService) sweep() {
	now := time.Now()
	for ref, key := range k.keys {
		key.rotateIfDue(now)
		if key.state != types.KeyStatePendingDeletion || now.Before(key.deletion) {
			continue
		}
		delete(k.keys, ref)
		for alias, a := range k.aliases {
			if a.target == ref {
				delete(k.aliases, alias)
			}
		}
		if key.multiRegion {
			k.replicaGone(key)
		}
	}
}

// replicaGone starts the waiting period of a primary that had to wait for its
// last replica to go.
func (k *kmsService) replicaGone(gone *kmsKey) {
	left := k.relatives(gone)
	if len(left) != 1 || left[0].state != types.KeyStatePendingReplicaDeletion {
		return
	}
	left[0].state = types.KeyStatePendingDeletion
	left[0].deletion = gone.deletion.AddDate(0, 0, int(left[0].pendingDays))
}

// changeable finds a key whose tags or aliases may be changed.
func (k *kmsService) changeable(c kmsCaller, id *string) (*kmsKey, error) {
	key, err := k.owned(c, id)
	if err != nil {
		return nil, err
	}
	if key.deleting() {
		return nil, kmsInvalidState(key)
	}
	return key, nil
}

// lookup finds the key that id names: a key ID, key ARN, alias or alias ARN.
func (k *kmsService) lookup(c kmsCaller, id *string) (*kmsKey, error) {
	k.sweep()
	if err := kmsCheckLength("keyId", len(aws.ToString(id)), 1, kmsMaxKeyIDLength); err != nil {
		return nil, err
	}
	account, resource := c.account, *id
	if strings.HasPrefix(*id, "arn:") {
		parts := strings.SplitN(*id, ":", 6)
		if len(parts) != 6 || parts[2] != "kms" {
			return nil, &types.InvalidArnException{Message: aws.String("Invalid arn")}
		}
		if parts[1] != partitionOf(c.region) || parts[3] != c.region {
			return nil, kmsNotFound("Invalid arn %s", parts[3])
		}
		account, resource = parts[4], parts[5]
		if r, ok := strings.CutPrefix(resource, "key/"); ok {
			resource = r
		} else if !strings.HasPrefix(resource, "alias/") {
			return nil, &types.InvalidArnException{Message: aws.String("Invalid arn")}
		}
	}
	ref := kmsKeyRef{account, c.region, resource}
	if strings.HasPrefix(resource, "alias/") {
		if strings.HasPrefix(resource, kmsReservedAliasPrefix) {
			return nil, kmsAccessDenied("the key behind %s is managed by AWS and can be used through its service only", resource)
		}
		alias, ok := k.aliases[kmsAliasRef{account, c.region, resource}]
		if !ok {
			return nil, kmsNotFound("Alias %s is not found.", kmsAliasRef{account, c.region, resource}.arn())
		}
		ref = alias.target
	}
	key, ok := k.keys[ref]
	if !ok && !kmsIsKeyID(ref.id) {
		return nil, kmsNotFound("Invalid keyId '%s'", ref.id)
	}
	if !ok {
		return nil, kmsNotFound("Key '%s' does not exist", ref.arn())
	}
	return key, nil
}

// kmsIsKeyID reports whether s has the form of a key ID.
func kmsIsKeyID(s string) bool {
	ok, _ := regexp.MatchString(`^(mrk-[0-9a-f]{32}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})$`, s)
	return ok
}

// named is lookup for actions on the key itself, which take a key ID or key
// ARN.
func (k *kmsService) named(c kmsCaller, id *string) (*kmsKey, error) {
	key, err := k.lookup(c, id)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(*id, "alias/") || strings.Contains(*id, ":alias/") {
		return nil, kmsValidation("this action takes a key ID or key ARN, not an alias")
	}
	return key, nil
}

// owned is named for actions that the service allows in the key's own account
// only.
func (k *kmsService) owned(c kmsCaller, id *string) (*kmsKey, error) {
	key, err := k.named(c, id)
	if err != nil {
		return nil, err
	}
	if key.account != c.account {
		return nil, kmsAccessDenied("account %s may not administer keys of account %s", c.account, key.account)
	}
	return key, nil
}

func kmsDisabled(key *kmsKey) error {
	return &types.DisabledException{Message: aws.String(key.arn() + " is disabled.")}
}

func kmsInvalidState(key *kmsKey) error {
	text := "is pending deletion"
	if key.state == types.KeyStatePendingReplicaDeletion {
		text = "is pending replica deletion"
	} else if key.state != types.KeyStatePendingDeletion {
		text = "is in the state " + string(key.state)
	}
	return &types.KMSInvalidStateException{Message: aws.String(key.arn() + " " + text + ".")}
}

// kmsEnabled is nil, or why a key cannot be used in its state.
func kmsEnabled(key *kmsKey) error {
	switch key.state {
	case types.KeyStateEnabled:
		return nil
	case types.KeyStateDisabled:
		return kmsDisabled(key)
	}
	return kmsInvalidState(key)
}

func (key *kmsKey) deleting() bool {
	return key.state == types.KeyStatePendingDeletion || key.state == types.KeyStatePendingReplicaDeletion
}

type kmsKeyMetadataOutput struct{ KeyMetadata kmsKeyMetadata }

func (k *kmsService) createKey(c kmsCaller, in *kms.CreateKeyInput) (kmsKeyMetadataOutput, error) {
	if err := kmsCheckLength("description", len(aws.ToString(in.Description)), 0, kmsMaxDescription); err != nil {
		return kmsKeyMetadataOutput{}, err
	}
	if in.Origin != "" && in.Origin != types.OriginTypeAwsKms {
		return kmsKeyMetadataOutput{}, &types.UnsupportedOperationException{Message: aws.String("this server makes keys of origin AWS_KMS only")}
	}
	ref := kmsKeyRef{c.account, c.region, kmsNewKeyID(aws.ToBool(in.MultiRegion))}
	policy, tags, err := kmsPolicyAndTags(ref, in.Policy, in.Tags)
	if err != nil {
		return kmsKeyMetadataOutput{}, err
	}
	key := &kmsKey{
		kmsKeyRef:   ref,
		policy:      policy,
		tags:        tags,
		description: aws.ToString(in.Description),
		created:     time.Now(),
		state:       types.KeyStateEnabled,
		usage:       cmp.Or(in.KeyUsage, types.KeyUsageTypeEncryptDecrypt),
		spec:        cmp.Or(in.KeySpec, types.KeySpec(in.CustomerMasterKeySpec), types.KeySpecSymmetricDefault), //lint:ignore SA1019 old clients send it
		multiRegion: aws.ToBool(in.MultiRegion),
		material:    newKMSMaterial(),
	}
	if key.multiRegion {
		key.primary = c.region
	}
	if !slices.Contains(key.spec.Values(), key.spec) || !slices.Contains(key.usage.Values(), key.usage) {
		return kmsKeyMetadataOutput{}, kmsValidation("KeySpec %s with KeyUsage %s is not a kind of key", key.spec, key.usage)
	}
	if in.KeyUsage == "" && key.spec != types.KeySpecSymmetricDefault {
		return kmsKeyMetadataOutput{}, kmsValidation("You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.")
	}
	mac := key.usage == types.KeyUsageTypeGenerateVerifyMac
	if key.spec == types.KeySpecSymmetricDefault && key.usage != types.KeyUsageTypeEncryptDecrypt || mac != (kmsMACAlgorithm(key.spec) != "") {
		return kmsKeyMetadataOutput{}, kmsValidation("KeyUsage %s is not compatible with KeySpec %s", key.usage, key.spec)
	}
	k.keys[key.kmsKeyRef] = key
	k.materials[key.material.id] = key.material
	return kmsKeyMetadataOutput{k.metadata(key)}, nil
}

// kmsPolicyAndTags is what a new key gets with a request.
func kmsPolicyAndTags(ref kmsKeyRef, policy *string, tags []types.Tag) (string, map[string]string, error) {
	all, err := kmsTags(nil, tags)
	if err != nil {
		return "", nil, err
	}
	if policy == nil {
		return kmsDefaultPolicy(ref), all, nil
	}
	text, err := kmsPolicy(*policy)
	return text, all, err
}

func kmsNewKeyID(multiRegion bool) string {
	var b [16]byte
	rand.Read(b[:])
	if multiRegion {
		return "mrk-" + hex.EncodeToString(b[:])
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // a version 4 UUID
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func (k *kmsService) describeKey(c kmsCaller, in *kms.DescribeKeyInput) (kmsKeyMetadataOutput, error) {
	key, err := k.lookup(c, in.KeyId)
	if err != nil {
		return kmsKeyMetadataOutput{}, err
	}
	return kmsKeyMetadataOutput{k.metadata(key)}, nil
}

func (k *kmsService) updateKeyDescription(c kmsCaller, in *kms.UpdateKeyDescriptionInput) (kmsEmpty, error) {
	if err := kmsCheckLength("description", len(aws.ToString(in.Description)), 0, kmsMaxDescription); err != nil {
		return kmsEmpty{}, err
	}
	key, err := k.owned(c, in.KeyId)
	if err != nil {
		return kmsEmpty{}, err
	}
	if key.deleting() {
		return kmsEmpty{}, kmsInvalidState(key)
	}
	key.description = aws.ToString(in.Description)
	return kmsEmpty{}, nil
}

type kmsKeyListEntry struct {
	KeyArn string
	KeyID  string `json:"KeyId"`
}

type kmsListKeysOutput struct {
	Keys       []kmsKeyListEntry
	NextMarker string `json:",omitempty"`
	Truncated  bool
}

func (k *kmsService) listKeys(c kmsCaller, in *kms.ListKeysInput) (kmsListKeysOutput, error) {
	k.sweep()
	all := []kmsKeyListEntry{}
	for ref := range k.keys {
		if ref.account == c.account && ref.region == c.region {
			all = append(all, kmsKeyListEntry{KeyArn: ref.arn(), KeyID: ref.id})
		}
	}
	id := func(e kmsKeyListEntry) string { return e.KeyID }
	slices.SortFunc(all, func(a, b kmsKeyListEntry) int { return cmp.Compare(id(a), id(b)) })
	page, next, err := kmsPage(all, id, in.Marker, in.Limit, kmsDefaultListKeys, kmsMaxListKeys)
	return kmsListKeysOutput{Keys: page, NextMarker: next, Truncated: next != ""}, err
}

func (k *kmsService) enableKey(c kmsCaller, in *kms.EnableKeyInput) (kmsEmpty, error) {
	return k.setState(c, in.KeyId, types.KeyStateEnabled)
}

func (k *kmsService) disableKey(c kmsCaller, in *kms.DisableKeyInput) (kmsEmpty, error) {
	return k.setState(c, in.KeyId, types.KeyStateDisabled)
}

func (k *kmsService) setState(c kmsCaller, id *string, state types.KeyState) (kmsEmpty, error) {
	key, err := k.owned(c, id)
	if err != nil {
		return kmsEmpty{}, err
	}
	if key.deleting() {
		return kmsEmpty{}, kmsInvalidState(key)
	}
	if state == types.KeyStateEnabled && key.state != state {
		key.resumeRotation(time.Now())
	}
	key.state = state
	return kmsEmpty{}, nil
}

type kmsDeletionOutput struct {
	DeletionDate *kmsTime       `json:",omitempty"`
	KeyID        string         `json:"KeyId"`
	KeyState     types.KeyState `json:",omitempty"`
	PendingDays  int32          `json:"PendingWindowInDays,omitempty"`
}

func (k *kmsService) scheduleKeyDeletion(c kmsCaller, in *kms.ScheduleKeyDeletionInput) (kmsDeletionOutput, error) {
	key, err := k.owned(c, in.KeyId)
	if err != nil {
		return kmsDeletionOutput{}, err
	}
	days := int32(kmsDefaultPendingDays)
	if in.PendingWindowInDays != nil {
		days = *in.PendingWindowInDays
	}
	if days < kmsMinPendingDays || days > kmsMaxPendingDays {
		return kmsDeletionOutput{}, kmsValidation("1 validation error detected: Value at 'pendingWindowInDays' is %d, must be between %d and %d", days, kmsMinPendingDays, kmsMaxPendingDays)
	}
	if key.deleting() {
		return kmsDeletionOutput{}, kmsInvalidState(key)
	}
	key.pendingDays = days
	out := kmsDeletionOutput{KeyID: key.arn(), PendingDays: days}
	if key.multiRegion && !key.replica() && len(k.relatives(key)) > 1 {
		key.state = types.KeyStatePendingReplicaDeletion
	} else {
		key.state = types.KeyStatePendingDeletion
		key.deletion = time.Now().AddDate(0, 0, int(days))
		out.DeletionDate = kmsTimeOf(key.deletion)
	}
	out.KeyState = key.state
	return out, nil
}

func (k *kmsService) cancelKeyDeletion(c kmsCaller, in *kms.CancelKeyDeletionInput) (kmsDeletionOutput, error) {
	key, err := k.owned(c, in.KeyId)
	if err != nil {
		return kmsDeletionOutput{}, err
	}
	if !key.deleting() {
		return kmsDeletionOutput{}, kmsInvalidState(key)
	}
	key.state = types.KeyStateDisabled // the service does not enable it either
	return kmsDeletionOutput{KeyID: key.arn()}, nil
}

type kmsReplicateOutput struct {
	ReplicaKeyMetadata kmsKeyMetadata
	ReplicaPolicy      string
}

func (k *kmsService) replicateKey(c kmsCaller, in *kms.ReplicateKeyInput) (kmsReplicateOutput, error) {
	key, err := k.owned(c, in.KeyId)
	if err != nil {
		return kmsReplicateOutput{}, err
	}
	region := aws.ToString(in.ReplicaRegion)
	switch {
	case !key.multiRegion || key.replica():
		return kmsReplicateOutput{}, &types.UnsupportedOperationException{Message: aws.String(key.arn() + " is not a multi-Region primary key.")}
	case region == "" || len(region) > 32 || partitionOf(region) != partitionOf(key.region):
		return kmsReplicateOutput{}, kmsValidation("ReplicaRegion '%s' is not a Region of this partition", region)
	case key.state == types.KeyStateDisabled:
		return kmsReplicateOutput{}, kmsDisabled(key)
	case key.deleting():
		return kmsReplicateOutput{}, kmsInvalidState(key)
	}
	replica := *key
	replica.region, replica.description, replica.created = region, aws.ToString(in.Description), time.Now()
	replica.grants = nil
	if replica.policy, replica.tags, err = kmsPolicyAndTags(replica.kmsKeyRef, in.Policy, in.Tags); err != nil {
		return kmsReplicateOutput{}, err
	}
	if _, ok := k.keys[replica.kmsKeyRef]; ok {
		return kmsReplicateOutput{}, &types.AlreadyExistsException{Message: aws.String(replica.arn() + " already exists.")}
	}
	k.keys[replica.kmsKeyRef] = &replica
	return kmsReplicateOutput{ReplicaKeyMetadata: k.metadata(&replica), ReplicaPolicy: replica.policy}, nil
}
