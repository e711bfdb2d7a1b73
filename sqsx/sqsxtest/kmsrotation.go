package sqsxtest

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// kmsRotation is the schedule of a key's automatic rotations. It belongs to the
// material, so that the keys of all Regions share it, and is changed through
// the primary key only.
type kmsRotation struct {
	enabled bool
	period  time.Duration
	next    time.Time
}

// rotateIfDue does what the schedule asks for. There is no timer: it is called
// before a key is looked at. A key that is not enabled is not rotated.
func (key *kmsKey) rotateIfDue(now time.Time) {
	r := &key.material.rotation
	for r.enabled && key.state == types.KeyStateEnabled && !key.replica() && !now.Before(r.next) {
		key.material.rotate()
		r.next = r.next.Add(r.period)
	}
}

// resumeRotation is for a key that is enabled again: rotations that it missed
// are one, and the next is a period later.
func (key *kmsKey) resumeRotation(now time.Time) {
	r := &key.material.rotation
	if r.enabled && !key.replica() && !now.Before(r.next) {
		key.material.rotate()
		r.next = now.Add(r.period)
	}
}

// rotatable finds a key whose rotation may be changed.
func (k *kmsService) rotatable(c kmsCaller, id *string) (*kmsKey, error) {
	key, err := k.owned(c, id)
	if err != nil {
		return nil, err
	}
	if err := kmsEnabled(key); err != nil {
		return nil, err
	}
	if !key.symmetric() {
		return nil, kmsNoRotation(key)
	}
	if key.replica() {
		return nil, &types.UnsupportedOperationException{Message: aws.String(key.arn() + " is a replica: the rotation is that of its primary key.")}
	}
	return key, nil
}

func kmsNoRotation(key *kmsKey) error {
	return &types.UnsupportedOperationException{Message: aws.String(key.arn() + " is not a symmetric encryption key, whose material alone is rotated.")}
}

func (k *kmsService) enableKeyRotation(c kmsCaller, in *kms.EnableKeyRotationInput) (kmsEmpty, error) {
	days := int32(kmsDefaultRotationDays)
	if in.RotationPeriodInDays != nil {
		days = *in.RotationPeriodInDays
	}
	if days < kmsMinRotationDays || days > kmsMaxRotationDays {
		return kmsEmpty{}, kmsValidation("1 validation error detected: Value at 'rotationPeriodInDays' is %d, must be between %d and %d", days, kmsMinRotationDays, kmsMaxRotationDays)
	}
	key, err := k.rotatable(c, in.KeyId)
	if err != nil {
		return kmsEmpty{}, err
	}
	period := time.Duration(days) * 24 * time.Hour
	key.material.rotation = kmsRotation{enabled: true, period: period, next: time.Now().Add(period)}
	return kmsEmpty{}, nil
}

func (k *kmsService) disableKeyRotation(c kmsCaller, in *kms.DisableKeyRotationInput) (kmsEmpty, error) {
	key, err := k.rotatable(c, in.KeyId)
	if err != nil {
		return kmsEmpty{}, err
	}
	key.material.rotation = kmsRotation{}
	return kmsEmpty{}, nil
}

type kmsRotationStatusOutput struct {
	KeyID                string `json:"KeyId"`
	KeyRotationEnabled   bool
	NextRotationDate     *kmsTime `json:",omitempty"`
	RotationPeriodInDays int      `json:",omitempty"`
}

func (k *kmsService) getKeyRotationStatus(c kmsCaller, in *kms.GetKeyRotationStatusInput) (kmsRotationStatusOutput, error) {
	key, err := k.named(c, in.KeyId)
	if err != nil {
		return kmsRotationStatusOutput{}, err
	}
	if !key.symmetric() {
		return kmsRotationStatusOutput{}, kmsNoRotation(key)
	}
	out := kmsRotationStatusOutput{KeyID: key.arn()}
	// The status of a key that awaits deletion is false. It comes back if the
	// deletion is cancelled.
	if r := key.material.rotation; r.enabled && !key.deleting() {
		out.KeyRotationEnabled = true
		out.NextRotationDate = kmsTimeOf(r.next)
		out.RotationPeriodInDays = int(r.period / (24 * time.Hour))
	}
	return out, nil
}

type kmsKeyIDOutput struct {
	KeyID string `json:"KeyId"`
}

// rotateKeyOnDemand leaves the schedule of automatic rotations as it is.
func (k *kmsService) rotateKeyOnDemand(c kmsCaller, in *kms.RotateKeyOnDemandInput) (kmsKeyIDOutput, error) {
	key, err := k.rotatable(c, in.KeyId)
	if err != nil {
		return kmsKeyIDOutput{}, err
	}
	if key.material.onDemand == kmsMaxOnDemandRotations {
		return kmsKeyIDOutput{}, &types.LimitExceededException{Message: aws.String("The on-demand rotations limit has been reached for the given keyId. No more on-demand rotations can be performed for this key: " + key.arn())}
	}
	key.material.onDemand++
	key.material.rotate()
	return kmsKeyIDOutput{KeyID: key.arn()}, nil
}
