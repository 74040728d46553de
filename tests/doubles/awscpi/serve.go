package awscpi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/smithy-go"
)

// cloud answers one call.
type cloud struct {
	api       *ec2.Client
	encrypted bool
	key       string
}

// failure is an error with a type of the AWS CPI.
type failure struct {
	kind, message string
	retry         bool
}

func (f *failure) Error() string { return f.message }

// Serve answers the request on in, with the configuration file of the job aws_cpi.
func Serve(ctx context.Context, config string, in io.Reader, out io.Writer) error {
	var request struct {
		Method    string
		Arguments []json.RawMessage
		Context   map[string]any
	}
	var log strings.Builder
	result, err := any(nil), json.NewDecoder(in).Decode(&request)
	if err == nil {
		var c *cloud
		if c, err = open(config, request.Context); err == nil {
			fmt.Fprintf(&log, "aws-cpi: %s", request.Method)
			result, err = c.call(ctx, request.Method, request.Arguments)
		}
	}
	answer := map[string]any{"result": result, "error": nil, "log": log.String()}
	if err != nil {
		answer["result"], answer["error"] = nil, words(err)
	}
	return json.NewEncoder(out).Encode(answer)
}

// words is an error as the AWS CPI tells it: what it does not know is "Unknown".
func words(err error) map[string]any {
	var f *failure
	if errors.As(err, &f) {
		return map[string]any{"type": f.kind, "message": f.message, "ok_to_retry": f.retry}
	}
	return map[string]any{"type": "Unknown", "message": err.Error(), "ok_to_retry": false}
}

// open reads the file and merges the whole context over its "aws" object, as the AWS CPI does.
func open(config string, over map[string]any) (*cloud, error) {
	text, err := os.ReadFile(config)
	if err != nil {
		return nil, err
	}
	var file struct {
		Cloud struct {
			Properties struct{ AWS map[string]any }
		}
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, err
	}
	properties := file.Cloud.Properties.AWS
	for key, value := range over {
		properties[key] = value
	}
	get := func(key string) string { s, _ := properties[key].(string); return s }
	c := &cloud{key: get("kms_key_arn")}
	c.encrypted = properties["encrypted"] != nil && properties["encrypted"] != false // "false" is true: !! in Ruby
	endpoint := get("ec2_endpoint")
	if !strings.Contains(endpoint, "://") {
		endpoint = "https://" + endpoint
	}
	c.api = ec2.NewFromConfig(aws.Config{
		Region: get("region"), BaseEndpoint: &endpoint,
		Credentials: credentials.NewStaticCredentialsProvider(get("access_key_id"), get("secret_access_key"), get("session_token")),
	})
	return c, nil
}

func (c *cloud) call(ctx context.Context, method string, arguments []json.RawMessage) (any, error) {
	text := func(i int) (s string) {
		if i < len(arguments) {
			_ = json.Unmarshal(arguments[i], &s) // of another type it stays empty
		}
		return s
	}
	object := func(i int) (o map[string]any) {
		if i < len(arguments) {
			_ = json.Unmarshal(arguments[i], &o)
		}
		return o
	}
	switch method {
	case "info":
		return map[string]any{"stemcell_formats": []string{"aws-raw", "aws-light"}, "api_version": 3}, nil
	case "create_stemcell":
		return "ami-00000000000000001 light", nil
	case "delete_stemcell":
		return nil, nil
	case "create_vm":
		return c.createVM(ctx, object(2))
	case "delete_vm":
		return nil, c.deleteVM(ctx, text(0))
	case "has_vm":
		return c.hasVM(ctx, text(0))
	case "set_vm_metadata":
		return nil, c.setVMMetadata(ctx, text(0), object(1))
	case "create_disk":
		return c.createDisk(ctx, arguments, object(1), text(2))
	case "delete_disk":
		return nil, c.deleteDisk(ctx, text(0))
	case "has_disk":
		return c.hasDisk(ctx, text(0))
	case "attach_disk":
		return c.attachDisk(ctx, text(0), text(1))
	case "detach_disk":
		return nil, c.detachDisk(ctx, text(0), text(1))
	case "set_disk_metadata":
		return nil, c.tag(ctx, text(0), object(1))
	}
	return nil, &failure{"Bosh::Clouds::NotImplemented", "'" + method + "' is not implemented", false}
}

// isCode reports whether an error is EC2's of that code.
func isCode(err error, code string) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == code
}
