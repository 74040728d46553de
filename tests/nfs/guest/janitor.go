package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

// janitorFails works one round, which must leave something, and say these words.
func (c *cloud) janitorFails(ctx context.Context, words ...string) error {
	log, err := os.CreateTemp(c.dir, "janitor-")
	if err != nil {
		return err
	}
	err = c.janitorTo(ctx, log)
	text, readErr := os.ReadFile(log.Name())
	if err := errors.Join(readErr, log.Close()); err != nil {
		return err
	}
	if err == nil {
		return errors.New("the janitor left nothing")
	}
	for _, word := range words {
		if !strings.Contains(string(text), word) {
			return fmt.Errorf("the janitor does not say %q: %s", word, text)
		}
	}
	return nil
}

// janitorLeaves proves what the janitor does not delete: what lies behind a link that a user put in place of a directory, and a
// file that this node has open, which its NFS client keeps under another name.
func janitorLeaves(ctx context.Context, _ *world) (err error) {
	c, err := startCloud(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop(context.WithoutCancel(ctx))) }()
	root, err := c.create(ctx, "root", nil)
	if err == nil {
		err = root.mount(ctx)
	}
	if err != nil {
		return err
	}
	for _, name := range []string{"linked", "neighbour", "open"} {
		use, err := c.create(ctx, name, map[string]string{"provisioningMode": "directory", "fileSystemId": root.handle, "onDelete": "delete"})
		if err != nil {
			return err
		}
		if err := errors.Join(use.mount(ctx), use.save("file", name), use.unmount(ctx)); err != nil {
			return err
		}
		if name != "neighbour" {
			err = c.delete(ctx, use)
		}
		if err != nil {
			return err
		}
	}
	held, err := os.Open(root.file("open/file"))
	if err != nil {
		return err
	}
	err = errors.Join(os.Rename(root.file("linked"), root.file("aside")), os.Symlink("neighbour", root.file("linked")),
		c.janitorFails(ctx, "it is not a directory", ".nfs", "this node is "+c.emulator.Instances[0].ID),
		root.holds("neighbour/file", "neighbour"), root.holds("aside/file", "linked"), gone(root.file("open")),
		held.Close(), os.Remove(root.file("linked")), os.Rename(root.file("aside"), root.file("linked")),
		c.janitor(ctx), gone(root.file("linked")), root.holds("neighbour/file", "neighbour"))
	return errors.Join(err, root.unmount(ctx), c.delete(ctx, root))
}
