"""Pages of the documentation that are asked of the live library: each module here gives its pages as Markdown, by file name."""
