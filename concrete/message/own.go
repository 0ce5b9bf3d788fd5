package message

// TextWriter is a value that writes its own JSON text: valid JSON, which is not checked
// again. It is for packages that know values better than encoding/json does.
type TextWriter interface {
	AppendJSONText(dst []byte) ([]byte, error)
}

// TextReader is a value that reads its own JSON text. It must not keep any of raw.
type TextReader interface {
	ReadJSONText(raw Raw) error
}

// writeOwn is EncodeTo for a TextWriter.
func writeOwn(buf *[]byte, w TextWriter) (Raw, error) {
	text, err := w.AppendJSONText((*buf)[:0])
	if err != nil {
		return nil, err
	}
	*buf = text
	return text, nil
}
