package helper

import (
	"encoding/json"
	"io"
	"strings"
	"time"
)

// Versions of kubectl's exec plugins that are answered.
const (
	kubeGroup = "client.authentication.k8s.io/"
	kubeV1    = kubeGroup + "v1"
	kubeBeta  = kubeGroup + "v1beta1"
)

// KubeQuestion is what kubectl tells a plugin in KUBERNETES_EXEC_INFO.
type KubeQuestion struct {
	APIVersion string // "" if it says nothing: v1 is answered
	Server     string // of the cluster; empty without provideClusterInfo
}

// ReadKube reads KUBERNETES_EXEC_INFO; empty is fine.
func ReadKube(info string) (KubeQuestion, error) {
	if strings.TrimSpace(info) == "" {
		return KubeQuestion{APIVersion: kubeV1}, nil
	}
	var q struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Spec       struct {
			Cluster struct {
				Server string `json:"server"`
			} `json:"cluster"`
		} `json:"spec"`
	}
	if len(info) > maxQuestion || json.Unmarshal([]byte(info), &q) != nil || q.Kind != "ExecCredential" || q.APIVersion != kubeV1 && q.APIVersion != kubeBeta {
		return KubeQuestion{}, ErrQuestion
	}
	return KubeQuestion{q.APIVersion, q.Spec.Cluster.Server}, nil
}

// WriteKube answers with an ExecCredential of the version that was asked for.
func WriteKube(w io.Writer, q KubeQuestion, t Token) error {
	type status struct {
		Expires string `json:"expirationTimestamp"`
		Token   string `json:"token"`
	}
	return json.NewEncoder(w).Encode(struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Status     status `json:"status"`
	}{q.APIVersion, "ExecCredential", status{t.ExpiresAt.UTC().Format(time.RFC3339), t.Value.Reveal()}})
}
