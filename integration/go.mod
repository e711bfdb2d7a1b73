module github.com/sealq/sealq/integration

go 1.26.0

replace github.com/sealq/sealq => ../

require github.com/google/go-cmp v0.7.0 // indirect
