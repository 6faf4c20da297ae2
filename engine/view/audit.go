package view

// AuditFile is how the audit log's file fares.
type AuditFile struct {
	Error     string `json:"error"`     // why the last line was not written; empty when it was
	Unwritten int    `json:"unwritten"` // records the file has never had
}
