// Lets gocloud_test.go declare functions whose bodies are elsewhere.
